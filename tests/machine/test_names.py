import os
import shutil
import subprocess

import pytest

from cnnprec.machine import code, cpu, names
from cnnprec.machine.gpu import Gpu

H200 = Gpu("NVIDIA H200 (SXM)", *[None] * 7)


@pytest.mark.parametrize("name", ["auto", "cpu", "gpu", "gpu:0", "gpu:12"])
def test_device_names_are_accepted(name):
    assert names.check_device_name(name) == name


@pytest.mark.parametrize("name", ["", "GPU", "gpu:", "gpu:-1", "cuda", "cpu:0", "gpu:0 "])
def test_other_device_names_are_refused_with_the_accepted_ones(name):
    with pytest.raises(names.DeviceError, match="choose auto, cpu, gpu or gpu:N"):
        names.check_device_name(name)


def test_machine_id_names_the_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(names, "query_gpus", lambda: (H200,))
    assert names.machine_id("auto") == "gpu-NVIDIA-H200-SXM-x1"
    assert names.machine_id("gpu:0") == "gpu-NVIDIA-H200-SXM-x1"


@pytest.mark.parametrize("device", ["cpu", "gpu:5"])
def test_machine_id_names_the_cpu_otherwise(monkeypatch, device):
    monkeypatch.setattr(names, "query_gpus", lambda: (H200,))
    monkeypatch.setattr(names, "cpu_model", lambda: "AMD EPYC(tm) 7763")
    monkeypatch.setattr(names, "usable_cores", lambda: 2)
    assert names.machine_id(device) == "cpu-AMD-EPYC-tm-7763-x2"


@pytest.mark.parametrize(
    ("device", "index"), [("gpu:0", 0), ("gpu:12", 12), ("gpu", 0), ("auto", 0), ("cpu", 0)]
)
def test_index_of_a_gpu_is_the_number_in_its_name(device, index):
    assert names.gpu_index(device) == index


def test_this_machine_has_a_cpu_with_a_name_and_cores():
    assert names.cpu_model()
    assert names.usable_cores() >= 1


X86 = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: {family}
model\t\t: {model}
model name\t: AMD EPYC
flags\t\t: fpu sse4_2 avx2 {flags}

processor\t: 1
cpu family\t: 99
model name\t: Another
flags\t\t: amx_tile
"""
ARM = """processor\t: 0
Features\t: fp asimd sve bf16
CPU implementer\t: 0x41
CPU part\t: 0xd40
"""


@pytest.fixture
def cpu_info(tmp_path, monkeypatch):
    """Lets `machine` read another text than /proc/cpuinfo."""
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(cpu, "Path", lambda name: {"/proc/cpuinfo": path}[name])
    monkeypatch.setattr(cpu.platform, "processor", lambda: "")
    monkeypatch.setattr(cpu.platform, "machine", lambda: "aarch64")
    return path


def test_processors_of_one_name_are_told_apart(cpu_info):
    cpu_info.write_text(X86.format(family=25, model=1, flags=""))
    older = names.cpu_model(), cpu.cpu_features()
    cpu_info.write_text(X86.format(family=26, model=2, flags="avx512_bf16 avx512f"))
    newer = names.cpu_model(), cpu.cpu_features()
    assert older == ("AMD EPYC family 25 model 1", ("sse4_2", "avx2"))
    # In the order of the table, not of the file, and nothing that no kernel is chosen by.
    assert newer == (
        "AMD EPYC family 26 model 2",
        ("sse4_2", "avx2", "avx512f", "avx512_bf16"),
    )


def test_arm_processor_is_told_by_implementer_and_part(cpu_info):
    cpu_info.write_text(ARM)
    assert names.cpu_model() == "aarch64 implementer 0x41 part 0xd40"
    assert cpu.cpu_features() == ("asimd", "bf16", "sve")


def test_system_that_does_not_tell_its_processor_has_a_name_and_unknown_features(cpu_info):
    assert not cpu_info.exists()
    assert names.cpu_model() == "aarch64"
    assert cpu.cpu_features() is None


def test_features_of_this_machine_are_those_of_the_system():
    found = cpu.cpu_features()
    lscpu = shutil.which("lscpu")
    if lscpu is None:
        pytest.skip("no lscpu to compare with")
    text = subprocess.run([lscpu], capture_output=True, text=True, check=True).stdout
    assert found
    assert set(found) <= set(text.split())


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small project of the same layout, which `machine` takes for its own."""
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
