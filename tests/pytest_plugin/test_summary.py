"""The last lines of a session, and what is refused before TensorFlow is loaded."""

import os
import re
import shutil

import pytest

from cnnprec.pytest_plugin.session import Session
from tests.support.project import WORK, Project
from tests.support.terminal import TerminalSession

ANSI = re.compile(r"\x1b\[\d*m")


def block(text: str, title: str) -> list[str]:
    """The lines of a section, up to the next one."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if re.match(rf"=+ {title} =+", line))
    rest = lines[start + 1 :]
    return rest[: next(i for i, line in enumerate(rest) if line.startswith("="))]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_answer_is_below_all_else_in_colour_and_fits_the_terminal(saved, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    saved.plan(half={"seconds": 4.0, "cpu_seconds": 6.0})
    text = saved.compare("--color=yes", "-rfs").stdout.str()
    assert "\x1b[32mtrained\x1b[0m" in text
    assert "verdict: \x1b[31mFAIL\x1b[0m, \x1b[31mROLL BACK\x1b[0m" in text
    plain = ANSI.sub("", text)
    for title in ("RESULTS", "VERDICTS"):
        assert max(map(len, block(plain, title))) <= width
    last_screen = plain.splitlines()[-23:]
    for start in ("half       time per step", "verdict: FAIL", "reason:  half speed: ", "next: "):
        assert any(line.startswith(start) for line in last_screen), start
    assert plain.index("short test summary info") < plain.index(" RESULTS ")
    short = "FAILED benchmarks/test_verdict.py::test_verdict[speed-half] - +10"
    assert short[: width - 3] in plain


@pytest.mark.parametrize("width", [80, 100, 120])
def test_answer_and_outcomes_are_on_the_last_screen_of_a_terminal(project, usual_signals, width):
    project.plan(half={"outcome": "diverged"}, bfloat16={"outcome": "frozen"})
    session = TerminalSession(project.path, *WORK, width=width)
    try:
        assert session.read_to_end() == pytest.ExitCode.OK
    finally:
        session.end()
    shown = session.lines()
    assert max(map(len, block("\n".join([*shown, "="]), "RESULTS"))) <= width
    for start in (r"precision +outcome", r"half +diverged", r"bfloat16 +frozen", "Use single: "):
        assert any(re.match(start, line) for line in shown[-23:]), start


def test_output_without_a_terminal_is_whole_and_plain(saved, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    text = saved.compare().stdout.str()
    assert "\x1b" not in text
    assert "images/s" in text
    assert "verdict: PASS, ROLL OUT" in text


def test_answer_names_a_precision_and_what_to_type(saved):
    result = saved.run("--precision=single,half")
    lines = block(result.stdout.str(), "RESULTS")
    assert "Use single: no other precision that trains as well is faster." in lines
    assert "Not half (not faster than single)." in lines


@pytest.mark.parametrize(
    ("options", "shown"),
    [([], False), (["-v"], True), (["--benchmark-columns=stddev"], True)],
)
def test_table_of_pytest_benchmark_is_left_out_unless_it_is_asked_for(project, options, shown):
    text = project.run("--precision=single,half", *options).stdout.str()
    assert ("StdDev" in text) is shown


def test_table_of_pytest_benchmark_is_there_for_other_benchmarks(project):
    mine = project.path / "test_mine.py"
    mine.write_text("def test_sum(benchmark):\n    assert benchmark(sum, [1, 2]) == 3\n")
    assert "StdDev" in project.run("--precision=single", str(mine)).stdout.str()


def test_busy_machine_is_told_before_measuring(project, monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (99.0, 0.0, 0.0))
    assert "BUSY: the load average is 99.0 on" in project.run("--collect-only").stdout.str()
    monkeypatch.setattr(os, "getloadavg", lambda: (0.1, 99.0, 99.0))
    assert "BUSY" not in project.run("--collect-only").stdout.str()


def test_github_gets_an_annotation_and_a_page(saved, monkeypatch):
    page = saved.path / "summary.md"
    page.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    assert "::notice" not in saved.compare().stdout.str()
    assert page.read_text() == "before\n"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    saved.compare().stdout.re_match_lines([r"::notice title=cnnprec PASS, ROLL OUT::none of the.*"])
    text = page.read_text()
    assert text.startswith("before\n## VERDICTS\n\n**PASS, ROLL OUT**, compared with 6 saved")
    assert "## RESULTS\n\n```text\ndata:" in text


@pytest.fixture
def unprepared(monkeypatch):
    def prepare(session):
        raise AssertionError("TensorFlow would have been loaded")

    monkeypatch.setattr(Session, "prepare", prepare)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--runs=1000000000000000000000000", "--runs 1000000000000000000000000: must be at most"),
        ("--turns=1000001", "--turns 1000001: must be at most 1000000"),
        ("--epochs=2000000000", "--epochs 2000000000: must be at most"),
        ("--train-samples=640 --epochs=999999999", "--epochs 999999999: steps a run 19999999980"),
        ("--benchmark-compare", "NO_BASELINE: there are no saved sessions in"),
        ("--benchmark-compare=x", "no saved sessions that match 'x' in"),
    ],
)
def test_what_needs_no_device_is_refused_without_tensorflow(project, unprepared, option, message):
    assert message in project.refused(*option.split())


def test_more_images_than_fashion_mnist_has_are_refused_by_option(project, unprepared):
    many = ["--train-samples=100000", "--dataset=fashion-mnist"]
    text = project.refused(*many)
    assert "--train-samples 100000: Fashion-MNIST has 60000 training images" in text


def test_folder_of_the_environment_that_is_not_there_is_refused(project, unprepared, monkeypatch):
    monkeypatch.setenv("CNNPREC_DATA_DIR", "/nonexistent")
    text = project.refused("--dataset=auto")
    assert "/nonexistent (from $CNNPREC_DATA_DIR) does not hold Fashion-MNIST" in text


def test_baselines_of_other_machines_are_named(saved: Project, unprepared):
    shutil.move(saved.folder, saved.folder.with_name("cpu-Other-x8"))
    text = saved.refused("--benchmark-compare")
    assert "There are some of other machines: cpu-Other-x8 (6 sessions)" in text
