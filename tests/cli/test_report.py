"""The command ``cnnprec report``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import cnnprec
from cnnprec.cli.main import main
from cnnprec.reports.results import results
from tests.support import sessions
from tests.support.ab import record, session


@pytest.fixture
def saved(tmp_path) -> Path:
    path = tmp_path / "0001_first.json"
    path.write_text(session(record("single"), record("half")))
    return path


def test_report_prints_results_of_a_saved_session(capsys, saved):
    assert main(["report", str(saved)]) == 0
    expected = results([record("single"), record("half")])
    assert capsys.readouterr().out.splitlines() == expected


def test_report_names_the_file_where_there_are_several(capsys, saved):
    other = saved.with_name("0002_second.json")
    other.write_text(session(record("double")))
    assert main(["report", str(saved), str(other)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{saved}:"
    assert f"{other}:" in lines


def test_report_as_markdown_is_a_block_under_the_name_of_the_file(capsys, saved):
    assert main(["report", "--markdown", str(saved)]) == 0
    expected = results([record("single"), record("half")])
    assert capsys.readouterr().out.splitlines() == [
        *("## 0001_first.json", "", "```", *expected, "```"),
    ]


def test_report_goes_on_after_a_file_that_cannot_be_read(capsys, saved):
    broken = saved.with_name("broken.json")
    broken.write_text("{")
    missing = saved.with_name("missing.json")
    assert main(["report", str(broken), str(missing), str(saved)]) == 4
    shown = capsys.readouterr()
    assert str(broken) in shown.err
    assert str(missing) in shown.err
    assert "Traceback" not in shown.err
    assert shown.out.count("precision  ") == 1
    assert "single" in shown.out


def test_report_to_a_reader_that_has_seen_enough_ends_quietly(saved):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "cnnprec.cli.main", "report", str(saved)],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(cnnprec.__file__).parent.parent,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_page_of_the_newest_session_is_judged_by_the_others(capsys, tmp_path):
    pytest.importorskip("jinja2")
    for number in range(1, 7):
        plain = sessions.changed()
        plain["datetime"] = f"2026-01-0{number}T00:00:00+00:00"
        sessions.put(tmp_path / "old" / f"{number:04}_base.json", plain)
    out = tmp_path / "out"
    files = sorted(map(str, (tmp_path / "old").iterdir()))
    assert main(["report", "--html", str(out), files[0]]) == 0
    assert 'class="decision' not in (out / "report.html").read_text()
    assert main(["report", "--html", str(out), *files]) == 0
    assert capsys.readouterr().out.splitlines() == [str(out / "report.html")] * 2
    assert "compared with 5 saved sessions" in (out / "report.md").read_text()
    assert 'class="decision' in (out / "report.html").read_text()


@pytest.mark.parametrize("content", ["{", "mine"])
def test_page_that_cannot_be_made_is_refused_and_replaces_nothing(capsys, saved, content):
    pytest.importorskip("jinja2")
    (saved.parent / "report.html").write_text("mine")
    broken = saved.with_name("broken.json")
    broken.write_text("{")
    target = saved.parent if content == "mine" else saved.parent / "out"
    assert main(["report", "--html", str(target), str(broken)]) == 4
    shown = capsys.readouterr()
    assert shown.out == ""
    assert str(saved.parent) in shown.err
    assert (saved.parent / "report.html").read_text() == "mine"
