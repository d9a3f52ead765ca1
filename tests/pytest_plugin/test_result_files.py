"""The verdicts of a session as data: --verdict-json, the saved file, and cnnprec compare."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cnnprec.cli.main import main
from cnnprec.records.read_sessions import read_session


def live_and_files(saved, tmp_path, *arguments: str) -> tuple[dict, dict, dict]:
    """The verdicts of a live session, those in its saved file, and those from the files."""
    old = [str(path) for path in saved.files()]
    live, files = tmp_path / "live.json", tmp_path / "files.json"
    result = saved.compare("--benchmark-save=new", f"--verdict-json={live}", *arguments)
    (new,) = set(map(str, saved.files())) - set(old)
    code = main(["compare", f"--verdict-json={files}", *arguments, *old, "--", new])
    assert code == result.ret
    plain = json.loads(live.read_text())
    assert plain["session"] == new
    return plain, json.loads(Path(new).read_text())["cnnprec"], json.loads(files.read_text())


@pytest.mark.parametrize(
    ("plan", "verdict"),
    [
        ({}, "PASS"),
        ({"half": {"seconds": 4.0, "cpu_seconds": 6.0}}, "FAIL"),
        ({"half": {"bits": "b"}}, "FAIL"),
        ({"half": {"fails": True}}, "INVALID"),
    ],
)
def test_files_give_the_judgements_that_the_live_session_gave_and_saved(
    saved, tmp_path, capsys, plan, verdict
):
    saved.plan(**plan)
    live, kept, files = live_and_files(saved, tmp_path)
    assert live == files
    assert live["verdict"] == kept["verdict"] == verdict
    assert live["judgements"] == kept["judgements"]


def test_files_of_too_few_sessions_are_inconclusive_as_the_live_session_was(
    saved, tmp_path, capsys
):
    for path in saved.files()[3:]:
        path.unlink()
    live, kept, files = live_and_files(saved, tmp_path)
    assert live == files
    assert live["verdict"] == kept["verdict"] == "INCONCLUSIVE"


def test_options_mean_the_same_live_and_from_files(saved, tmp_path, capsys):
    saved.plan(half={"seconds": 4.0, "cpu_seconds": 6.0})
    live, _, files = live_and_files(saved, tmp_path, "--tolerance=150%", "--margin=200%")
    assert live == files
    assert live["verdict"] == "PASS"


def test_saved_judgements_are_passed_over_by_readers(saved):
    saved.compare("--benchmark-save=new")
    path = saved.files()[-1]
    before = read_session(path)
    assert json.loads(path.read_text())["cnnprec"]["judgements"]
    saved.edit(path, lambda plain: plain["cnnprec"].update(judgements=7))
    assert read_session(path) == before


def test_session_that_was_not_compared_is_saved_without_judgements(saved):
    saved.run("--precision=single,half", "--benchmark-save=new")
    block = json.loads(saved.files()[-1].read_text())["cnnprec"]
    assert (block["verdict"], block["judgements"]) == (None, [])


def test_session_that_is_not_saved_has_no_path(saved, tmp_path):
    target = tmp_path / "verdict.json"
    assert saved.compare(f"--verdict-json={target}").ret == 0
    assert json.loads(target.read_text())["session"] is None


@pytest.mark.parametrize("exists", [False, True])
def test_verdict_json_without_a_comparison_is_refused_and_touches_nothing(saved, tmp_path, exists):
    target = tmp_path / "verdict.json"
    if exists:
        target.write_text('{"version": 1, "basis": "", "judgements": []}')
    text = saved.refused("--precision=single", f"--verdict-json={target}")
    assert "--verdict-json needs --benchmark-compare: there is no verdict without it" in text
    assert target.exists() is exists


def test_verdict_json_that_cannot_be_written_is_refused_before_measuring(saved, tmp_path):
    (tmp_path / "file").touch()
    target = tmp_path / "file" / "verdict.json"
    text = saved.refused(f"--verdict-json={target}", "--benchmark-compare")
    assert f"--verdict-json {target} cannot be written: Not a directory" in text or (
        f"--verdict-json {target} cannot be written: File exists" in text
    )
    text = saved.refused(f"--verdict-json={saved.files()[0]}", "--benchmark-compare")
    assert "is there and holds no verdict; give another name" in text


def test_older_verdict_does_not_outlive_a_session_that_is_refused(saved, tmp_path):
    target = tmp_path / "verdict.json"
    saved.compare(f"--verdict-json={target}")
    assert target.exists()
    saved.refused("--epochs=2", f"--verdict-json={target}", "--benchmark-compare")
    assert not target.exists()


def test_verdict_json_that_fails_at_the_end_is_no_success(saved, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    target = tmp_path / "verdicts" / "verdict.json"
    result = saved.compare(f"--verdict-json={target}")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.re_match_lines([r"NOT WRITTEN: --verdict-json .*: No space left on device"])
    assert list(target.parent.iterdir()) == []


def test_report_is_written_with_the_verdicts(saved, tmp_path):
    pytest.importorskip("jinja2")
    saved.plan(half={"seconds": 4.0, "cpu_seconds": 6.0})
    result = saved.compare(f"--report={tmp_path / 'out'}")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "ROLL BACK (FAIL)" in page
    assert "<h2>History</h2>" not in page  # of so few sessions
    assert "**FAIL, ROLL BACK**" in (tmp_path / "out" / "report.md").read_text()
    result.stdout.fnmatch_lines([f"report: {tmp_path / 'out' / 'report.html'}"])


def test_report_needs_no_baseline_and_replaces_only_its_own(project, tmp_path):
    pytest.importorskip("jinja2")
    for _ in range(2):
        assert project.run("--precision=single,half", f"--report={tmp_path}").ret == 0
        assert "Which precision to use" in (tmp_path / "report.html").read_text()
    (tmp_path / "report.md").write_text("mine")
    text = project.refused("--precision=single", f"--report={tmp_path}")
    assert "report.md is there and holds no report of cnnprec" in text
    assert (tmp_path / "report.md").read_text() == "mine"


def test_older_report_does_not_outlive_a_session_that_fails_to_write_its_own(
    project, tmp_path, monkeypatch
):
    pytest.importorskip("jinja2")
    assert project.run("--precision=single", f"--report={tmp_path}").ret == 0

    def broken(folder, report):
        raise RuntimeError("no page")

    monkeypatch.setattr("cnnprec.pytest_plugin.saving.write_report", broken)
    result = project.run("--precision=single", f"--report={tmp_path}")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*= RESULTS =*", f"NOT WRITTEN: --report {tmp_path}: no page"])
    assert list(tmp_path.glob("report.*")) == []
