import os
import shutil
import subprocess

import pytest

from cnnprec.machine import code


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small project of the same layout, which `code` takes for its own."""
    folder = tmp_path / "project"
    for name in ("cnnprec/model.py", "cnnprec/record.py", "benchmarks/test_training.py"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")
    (folder / "README.md").write_text("A document.\n")
    monkeypatch.setattr(code, "_PACKAGE", folder / "cnnprec")
    return folder


def test_digest_is_twelve_hexadecimal_digits_and_stays_the_same(project):
    digest = code.code_digest()
    assert len(digest) == 12
    assert set(digest) <= set("0123456789abcdef")
    assert code.code_digest() == digest


def test_digest_does_not_depend_on_where_the_project_lies(project, monkeypatch):
    before = code.code_digest()
    copy = shutil.copytree(project, project.parent / "elsewhere")
    monkeypatch.setattr(code, "_PACKAGE", copy / "cnnprec")
    assert code.code_digest() == before


@pytest.mark.parametrize(
    "name", ["cnnprec/model.py", "cnnprec/record.py", "benchmarks/test_training.py"]
)
def test_change_of_any_source_file_changes_the_digest(project, name):
    before = code.code_digest()
    with (project / name).open("a") as file:
        file.write("pass\n")
    assert code.code_digest() != before


@pytest.mark.parametrize(
    "name",
    ["cnnprec/new.py", "cnnprec/folder/new.py", "benchmarks/new.py", "benchmarks/a/b/new.py"],
)
def test_new_source_file_changes_the_digest_even_if_empty(project, name):
    before = code.code_digest()
    (project / name).parent.mkdir(parents=True, exist_ok=True)
    (project / name).touch()
    assert code.code_digest() != before


def test_removed_renamed_and_moved_source_files_change_the_digest(project):
    digests = [code.code_digest()]
    path = project / "cnnprec/model.py"
    for change in (
        lambda: path.rename(project / "cnnprec/network.py"),
        lambda: (project / "cnnprec/network.py").rename(project / "benchmarks/network.py"),
        lambda: (project / "benchmarks/network.py").unlink(),
    ):
        change()
        digests.append(code.code_digest())
    assert len(set(digests)) == 4


def test_text_moved_from_one_file_to_the_next_changes_the_digest(project):
    before = code.code_digest()
    model, record = project / "cnnprec/model.py", project / "cnnprec/record.py"
    record.write_text(model.read_text() + record.read_text())
    model.write_text("")
    assert code.code_digest() != before


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "docs/performance.md",
        "benchmarks/baselines/machine/0001.json",
        "cnnprec/__pycache__/model.cpython-311.pyc",
        "tests/training/test_model.py",
    ],
)
def test_documents_baselines_and_tests_do_not_change_the_digest(project, name):
    before = code.code_digest()
    (project / name).parent.mkdir(parents=True, exist_ok=True)
    (project / name).write_text("changed")
    assert code.code_digest() == before


def test_installed_package_without_benchmarks_has_a_digest_of_its_own(project):
    before = code.code_digest()
    shutil.rmtree(project / "benchmarks")
    assert code.code_digest() not in (before, "")


@pytest.fixture
def no_git_settings(monkeypatch):
    """Hides the user's settings, and a repository that a Git hook may have put in force."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


def git(folder, *arguments) -> str:
    person = ["-c", "user.name=Nobody", "-c", "user.email=nobody@localhost"]
    done = subprocess.run(
        ["git", *person, *arguments],  # noqa: S607
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(project, no_git_settings):
    git(project, "init", "--quiet")
    git(project, "add", ".")
    git(project, "commit", "--quiet", "--message", "First")
    return project


needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="Git is not installed")


@needs_git
def test_commit_is_named_by_the_beginning_of_its_hash(repository):
    assert code.commit() == git(repository, "rev-parse", "--short=12", "HEAD")


@needs_git
def test_commit_with_a_tag_is_named_by_its_hash_all_the_same(repository):
    git(repository, "tag", "--annotate", "v1", "--message", "One")
    assert code.commit() == git(repository, "rev-parse", "--short=12", "HEAD")


@needs_git
@pytest.mark.parametrize("name", ["cnnprec/model.py", "README.md"])
def test_change_of_a_tracked_file_makes_the_commit_dirty(repository, name):
    clean = code.commit()
    (repository / name).write_text("changed")
    assert code.commit() == f"{clean}-dirty"


@needs_git
def test_file_that_is_not_tracked_does_not_make_the_commit_dirty(repository):
    clean = code.commit()
    (repository / "notes.txt").touch()
    assert code.commit() == clean


def test_outside_a_repository_there_is_no_commit(project):
    assert code.commit() is None


@needs_git
def test_repository_of_another_project_around_the_package_is_not_asked(project, no_git_settings):
    outer = project.parent
    git(outer, "init", "--quiet")
    git(outer, "add", ".")
    git(outer, "commit", "--quiet", "--message", "Another project")
    assert code.commit() is None


@needs_git
def test_repository_without_a_commit_has_none(project, no_git_settings):
    git(project, "init", "--quiet")
    assert code.commit() is None


def test_machine_without_git_has_no_commit(project, monkeypatch):
    (project / ".git").mkdir()
    monkeypatch.setenv("PATH", str(project))
    assert code.commit() is None
