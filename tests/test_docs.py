"""The documents: their examples run, their links lead somewhere, and the names in them exist."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import doctest
import importlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cnnprec

ROOT = Path(cnnprec.__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
WIDEST = 120
# Files of the package above this many lines are listed in CONTRIBUTING.md with the reason.
LONG = 300

pytestmark = pytest.mark.skipif(
    not (ROOT / "README.md").exists(), reason="the documents are in a checkout only"
)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


@dataclasses.dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, and the line of the page it starts at."""

    language: str
    text: str
    line: int


def blocks(text: str) -> list[Block]:
    fenced = re.finditer(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [Block(m[2], m[3], text.count("\n", 0, m.start(3)) + 1) for m in fenced]


def prose(text: str) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)


def inline_code(text: str) -> set[str]:
    """What stands in single backticks, line breaks taken as spaces."""
    return {" ".join(m[1].split()) for m in re.finditer(r"`([^`]+)`", prose(text))}


def long_lines(text: str) -> list[int]:
    return [n for n, line in enumerate(text.splitlines(), 1) if len(line) > WIDEST]


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {word.replace(" ", "-") for word in words}


def broken_links(page: Path, text: str) -> list[str]:
    """Relative links to what is not there."""
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        if re.match(r"[a-z]+:", target):
            continue  # another site's
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        if not path.exists() or (anchor and anchor not in anchors(path.read_text())):
            found.append(target)
    return found


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or something in one, fields of dataclasses included."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            thing: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if part in getattr(thing, "__dataclass_fields__", {}):
                return part == parts[-1]
            if not hasattr(thing, part):
                return False
            thing = getattr(thing, part)
        return True
    return False


def unknown_names(text: str) -> list[str]:
    """Dotted names of the package in backticks that do not exist."""
    names = (code.removesuffix("()") for code in inline_code(text))
    return sorted(n for n in names if re.fullmatch(r"cnnprec(\.\w+)+", n) and not exists(n))


def missing_paths(text: str) -> list[str]:
    """Paths of this repository in backticks that are not there."""
    path = re.compile(r"(cnnprec|tests|benchmarks|docs|\.ci)/[\w./*-]*")
    return sorted(c for c in inline_code(text) if path.fullmatch(c) and not any(ROOT.glob(c)))


def bad_imports(text: str) -> list[str]:
    """What Python blocks import from this repository and cannot."""
    found = []
    for block in blocks(text):
        if block.language != "python":
            continue
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                ("cnnprec", "tests.")
            ):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [a.name for a in node.names if a.name.startswith("cnnprec")]
            else:
                continue
            found += [name for name in names if not exists(name)]
    return found


def differences(page: Path, text: str) -> Iterator[str]:
    """Runs the Python blocks in one namespace; yields where the output is not the one shown."""
    names: dict[str, Any] = {"__name__": "page"}
    found = blocks(text)
    checker = doctest.OutputChecker()
    for block, after in zip(found, [*found[1:], Block("", "", 0)], strict=True):
        if block.language != "python":
            continue
        printed = io.StringIO()
        # Empty lines in front, so that a traceback names the line of the page.
        code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
        with contextlib.redirect_stdout(printed):
            exec(code, names)  # noqa: S102 - the page of this repository
        if after.language == "text" and not checker.check_output(
            after.text, printed.getvalue(), doctest.ELLIPSIS
        ):
            yield f"line {after.line}: the page shows\n{after.text}printed is\n{printed.getvalue()}"


@every_page
def test_no_line_is_wider_than_120_columns(page):
    assert long_lines(page.read_text()) == []


@every_page
def test_links_lead_somewhere(page):
    assert broken_links(page, page.read_text()) == []


@every_page
def test_names_of_the_package_exist(page):
    assert unknown_names(page.read_text()) == []


@every_page
def test_paths_exist(page):
    assert missing_paths(page.read_text()) == []


@every_page
def test_imports_of_the_examples_exist(page):
    assert bad_imports(page.read_text()) == []


def test_the_examples_of_python_md_print_what_the_page_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CNNPREC_DATA_DIR", raising=False)
    page = ROOT / "docs" / "python.md"
    assert list(differences(page, page.read_text())) == []


def test_contributing_lists_the_long_files_of_the_package():
    section = (ROOT / "CONTRIBUTING.md").read_text().partition("## Long files")[2]
    listed = {c for c in inline_code(section.partition("\n## ")[0]) if c.endswith(".py")}
    files = {path: len(path.read_text().splitlines()) for path in (ROOT / "cnnprec").rglob("*.py")}
    long = {path.relative_to(ROOT).as_posix() for path, count in files.items() if count > LONG}
    assert listed == long


def test_a_long_line_is_found():
    assert long_lines("a\n" + "b" * (WIDEST + 1) + "\n" + "c" * WIDEST) == [2]


@pytest.mark.parametrize(
    ("target", "broken"),
    [
        ("there.md", False),
        ("there.md#a-heading-v12-or-so", False),
        ("#here", False),
        ("https://example.org/nowhere", False),
        ("nowhere.md", True),
        ("there.md#another-heading", True),
        ("#there", True),
    ],
)
def test_a_link_to_nowhere_is_found(tmp_path, target, broken):
    (tmp_path / "there.md").write_text("# A heading, `v1.2` or so\n")
    page = tmp_path / "page.md"
    text = f"# Here\n\n[a link]({target})\n\n```\n[no link](gone.md)\n# There\n```\n"
    page.write_text(text)
    assert broken_links(page, text) == ([target] if broken else [])


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("cnnprec.measure", True),
        ("cnnprec.train()", True),
        ("cnnprec.records.record.Record.companions", True),
        ("cnnprec.verdicts.verdict.Verdict.PASS", True),
        ("cnnprec.finite", False),
        ("cnnprec.verdicts.verdict.Verdikt", False),
        ("cnnprec.records.record.Record.companion", False),
    ],
)
def test_a_name_that_does_not_exist_is_found(name, known):
    assert unknown_names(f"Text with `{name}` in it.\n") == ([] if known else [name])
    assert unknown_names(f"```\n`{name}`\n```\n") == []


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("tests/test_docs.py", True),
        ("tests/", True),
        ("tests/*.py", True),
        ("tests/gone.py", False),
    ],
)
def test_a_path_that_does_not_exist_is_found(path, there):
    assert missing_paths(f"See `{path}`.") == ([] if there else [path])


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        ("from cnnprec.text import aligned", []),
        ("import cnnprec.text", []),
        ("from cnnprec.text import gone", ["cnnprec.text.gone"]),
        ("import cnnprec.gone", ["cnnprec.gone"]),
        ("from tests.gone import thing", ["tests.gone.thing"]),
    ],
)
def test_an_import_of_what_does_not_exist_is_found(line, bad):
    assert bad_imports(f"```python\n{line}\n```\n") == bad


def test_output_that_is_not_the_one_shown_is_found():
    text = "```python\nx = 1\nprint(x, 'more')\n```\n\n```text\n{}\n```\n"
    page = Path("page.md")
    assert not list(differences(page, text.format("1 ...")))
    assert len(list(differences(page, text.format("2 more")))) == 1


def test_an_example_that_fails_names_its_line_of_the_page():
    text = "# Title\n\n```python\nx = 1\n```\n\n```python\nx / 0\n```\n"
    with pytest.raises(ZeroDivisionError) as caught:
        list(differences(Path("page.md"), text))
    assert caught.traceback[-1].lineno + 1 == 8
