"""The command ``cnnprec baseline``, with a stand-in for pytest that saves sessions at once."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from cnnprec.cli import baseline
from cnnprec.cli.main import main
from tests.support.sessions import NEWEST, SAVED

# Saves the session whose noise is next in plan.json; notes what it was called with.
FAKE = """
import json, os, pathlib, signal, sys, time
if os.environ["GITHUB_ACTIONS"]:
    sys.exit("it would add a page to the summary of the job")
assert sys.argv[1] == "benchmarks/"
words = sys.argv[2:]
plan = json.loads(pathlib.Path("plan.json").read_text())
with open("calls", "a") as calls:
    calls.write(json.dumps(words) + "\\n")
if "--collect-only" in words:
    sys.exit(plan["known"])
print("a line of pytest")
time.sleep(plan["seconds"])
name = next(word.partition("=")[2] for word in words if word.startswith("--benchmark-save="))
folder = pathlib.Path("benchmarks/baselines/machine")
folder.mkdir(parents=True, exist_ok=True)
number = len(list(folder.iterdir())) + 1
if plan["saves"]:
    session = json.loads(pathlib.Path(plan["session"]).read_text())
    session["datetime"] = f"2026-01-01T{number:02}:00:00+00:00"
    for benchmark in session["benchmarks"]:
        record = benchmark["extra_info"]["cnnprec"]
        factor = plan["factors"][record["precision"]["name"]][number]
        # Steady within a session, so that its own turns do not hide what was planned.
        for entry in record["rounds"]:
            entry["seconds"] = factor
        if record.get("turns"):
            record["turns"]["seconds"] = [0.1 * factor] * len(record["turns"]["seconds"])
    (folder / f"{number:04}_{name}.json").write_text(json.dumps(session))
sys.exit(plan["status"])
"""
NAMES = [b["extra_info"]["cnnprec"]["precision"]["name"] for b in SAVED["benchmarks"]]


class Place:
    """A folder with a stand-in for pytest."""

    def __init__(self, path, capsys) -> None:
        self.path, self.capsys = path, capsys
        (path / "fake.py").write_text(FAKE)
        self.plan()

    def plan(self, noise=0.005, **change) -> None:
        random = np.random.default_rng(2)
        factors = {name: list(np.exp(random.normal(0, noise, 60))) for name in NAMES}
        plan = {"known": 0, "seconds": 0, "saves": True, "status": 0, "session": str(NEWEST)}
        (self.path / "plan.json").write_text(json.dumps({**plan, "factors": factors, **change}))

    def run(self, *arguments: str) -> tuple[int, str, str]:
        try:
            code = main(["baseline", *arguments])
        except SystemExit as left:
            code = left.code
        shown = self.capsys.readouterr()
        assert "Traceback" not in shown.err
        return code, shown.out, shown.err

    def calls(self) -> list[list[str]]:
        path = self.path / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def place(tmp_path, capsys, monkeypatch) -> Place:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setattr(baseline, "PYTEST", (sys.executable, "-S", "fake.py"))
    return Place(tmp_path, capsys)


def test_it_saves_until_the_slowdown_is_found_with_progress_and_options_for_pytest(place):
    code, out, err = place.run("--name=night", "--", "--precision", "single,half")
    assert code == 0
    assert "5 sessions find a slowdown of " in out
    assert place.calls() == [["--precision", "single,half", "--benchmark-save=night"]] * 5
    assert "0 sessions; 5 are needed to find any slowdown\n" in err
    assert "4 sessions; 5 are needed to find any slowdown; about " in err


def test_a_smaller_slowdown_takes_more_sessions(place):
    place.plan(noise=0.02)
    code, out, err = place.run("--detect", "15%")
    assert code == 0
    count = len(place.calls())
    assert 5 < count < 30
    assert out.startswith(f"{count} sessions find a slowdown of 1")
    assert " more for 15.0%; about " in err


def test_what_is_saved_counts_and_pytest_is_asked_whether_it_still_holds(place):
    place.run()
    code, out, _ = place.run()
    assert (code, out[:10]) == (0, "5 sessions")
    assert len(place.calls()) == 6
    asked = ["--benchmark-compare=baseline", "--vary=code", "--detect=0.1"]
    assert place.calls()[-1] == [*asked, "--require-verdict", "--collect-only"]


def test_where_work_or_software_changed_what_is_saved_is_not_believed(place):
    place.run()
    place.plan(known=4)
    code, _, err = place.run()
    assert code == 0
    assert "the sessions saved are of other work or software than now" in err
    assert place.calls()[-1] == ["--benchmark-save=baseline"]


def test_other_names_do_not_count(place):
    place.run("--name=before")
    place.run("--name=after")
    assert len(place.calls()) == 10


def test_it_stops_at_the_most_sessions_and_counts_those_saved_before(place):
    place.plan(noise=0.2)
    code, out, _ = place.run("--max-sessions", "7")
    assert (code, len(place.calls())) == (3, 7)
    assert "stopped by --max-sessions 7: 7 sessions find a slowdown of " in out
    assert "10.0% is out of reach with this noise" in out
    assert place.run("--max-sessions", "7")[0] == 3
    assert len(place.calls()) == 7


def test_it_stops_before_a_session_that_would_end_after_the_time_budget(place):
    place.plan(seconds=0.5)
    code, out, _ = place.run("--time-budget", "1.2s")
    assert code == 6
    assert "stopped by --time-budget: " in out
    assert 1 <= len(place.calls()) <= 2


def test_sessions_are_spread_over_the_time(place):
    began = time.monotonic()
    assert place.run("--spread-over", "2s")[0] == 0
    assert 1.5 <= time.monotonic() - began <= 10


@pytest.mark.parametrize(
    ("plan", "code", "message"),
    [
        ({"status": 1}, 5, "a session ended with exit code 1 and is no baseline in "),
        ({"status": 4}, 4, "a session ended with exit code 4"),
        ({"saves": False}, 5, "a session ended with exit code 0 and is no baseline in "),
    ],
)
def test_a_session_that_fails_or_saves_nothing_ends_it_with_its_last_lines(
    place, plan, code, message
):
    place.plan(**plan)
    ended, _, err = place.run()
    assert (ended, len(place.calls())) == (code, 1)
    assert message in err
    assert "  | a line of pytest" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--detect", "0"], "--detect 0: give a slowdown above the tolerance, 0.03, and up to 1"),
        (["--detect", "300%"], "--detect 3: give a slowdown above the tolerance"),
        (["--detect", "much"], "'much' is not a share"),
        (["--spread-over", "2h", "--time-budget", "1h"], "--spread-over is longer than --time-bud"),
        (["--time-budget", "0s"], "'0s' is not a time above 0: give one such as 90s, 30min or 2h"),
        (["--spread-over", "2"], "'2' is not a time above 0"),
        (["--max-sessions", "many"], "invalid int value: 'many'"),
    ],
)
def test_bad_options_are_refused_before_any_session(place, arguments, message):
    code, _, err = place.run(*arguments)
    assert code == 4
    assert message in err
    assert place.calls() == []


def test_ctrl_c_stops_the_session_and_keeps_what_is_saved(place, usual_signals):
    # Too noisy to be done before the signal comes, however busy the machine.
    place.plan(noise=0.3, seconds=0.3)
    code = (
        "import sys; from cnnprec.cli import baseline, main;"
        "baseline.PYTEST = (sys.executable, '-S', 'fake.py');"
        "sys.exit(main.main(['baseline', '--detect', '5%']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    folder = place.path / "benchmarks" / "baselines" / "machine"
    until = time.monotonic() + 30
    while not (folder.is_dir() and list(folder.iterdir())) and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "interrupted; what is saved counts when it is started again" in err
    assert "Traceback" not in err.split("cnnprec baseline:")[-1]
    kept = len(list(folder.iterdir()))
    time.sleep(0.5)
    assert len(list(folder.iterdir())) == kept >= 1
