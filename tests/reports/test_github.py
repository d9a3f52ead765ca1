from cnnprec.reports.github import annotation, tell_github
from cnnprec.verdicts.verdict import Comparison, Judgement, Metric, Verdict


def compared(verdict: Verdict, reason: str) -> Comparison:
    return Comparison((Judgement(Metric.SPEED, "half", verdict, reason),), (), "7 saved sessions")


def test_decision_is_an_annotation():
    assert annotation(compared(Verdict.FAIL, "it grew")) == (
        "::error title=cnnprec FAIL, ROLL BACK::half speed: it grew"
    )
    assert annotation(compared(Verdict.INCONCLUSIVE, "10% cannot\nbe excluded")) == (
        "::warning title=cnnprec INCONCLUSIVE, MEASURE MORE::half speed: 10%25 cannot%0Abe excluded"
    )
    fine = annotation(compared(Verdict.PASS, "fine"))
    assert fine.startswith("::notice title=cnnprec PASS, ROLL OUT::")


def test_summary_that_cannot_be_written_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    said: list[str] = []
    tell_github(None, ["a page"], said.append)
    assert said == [f"::warning::{tmp_path} cannot be written: Is a directory"]


def test_nothing_is_said_elsewhere(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    said: list[str] = []
    tell_github(compared(Verdict.FAIL, "it grew"), ["a page"], said.append)
    assert not said
    assert not page.exists()
