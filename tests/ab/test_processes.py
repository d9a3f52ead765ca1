"""Trying both sides, and child processes that never outlive this one."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cnnprec.ab import plan as planning
from cnnprec.ab.processes import Children, InterruptError
from tests.support.ab import refused, text_of


def test_interpreter_without_the_package_is_refused_with_its_output(bench, capsys):
    bench.tell(B={"starts": False})
    text = refused(bench, capsys)
    assert "B: " in text
    assert "| ModuleNotFoundError: no module named cnnprec" in text


def test_interpreter_that_imports_another_package_is_refused(bench, capsys):
    bench.tell(A={"package": "/site-packages"})
    text = refused(bench, capsys)
    assert "imports /site-packages/cnnprec/__init__.py, not the package of" in text


def test_options_that_pytest_refuses_are_refused_with_its_output(bench, capsys):
    bench.tell(B={"collect_status": 4})
    assert "| ERROR: unknown option" in refused(bench, capsys, "--", "--no-such-option")


def test_no_benchmarks_are_refused(bench, capsys):
    bench.tell(A={"collects": []}, B={"collects": []})
    assert "collects no benchmarks" in refused(bench, capsys)


def test_different_benchmarks_are_refused_and_named(bench, capsys):
    bench.tell(B={"collects": ["half", "tf32"]})
    text = refused(bench, capsys)
    assert "Only in A: benchmarks/test_training.py::test_training[single]" in text
    assert "Only in B: benchmarks/test_training.py::test_training[tf32]" in text


def test_both_sides_are_tried_with_the_options_of_the_measurement(bench):
    bench.run("--", "--precision", "single,half", "-v")
    tried = [call for call in bench.noted("calls") if "--collect-only" in call["words"]]
    assert [call["side"] for call in tried] == ["A", "B"]
    for call in tried:
        assert call["words"][-5:-2] == ["--precision", "single,half", "-v"]
        # Last, because -v would change the list that is read.
        assert call["words"][-1] == "--verbosity=-1"


# Processes.


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_until(condition) -> None:
    # Ends as soon as it can; the limit only keeps a broken test from hanging for ever.
    for _ in range(20_000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("the condition never came true")


def children() -> Children:
    return Children(sys.stderr.fileno())


def run_child(stopper: Children, code: str, output, **settings) -> int:
    return stopper.run([sys.executable, "-S", "-c", code], ".", output, **settings)


@pytest.mark.parametrize(
    ("code", "status"),
    [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", -9), ("pass", 0)],
)
def test_status_of_a_child_is_returned(tmp_path, code, status):
    with children() as stopper, (tmp_path / "log").open("wb") as log:
        assert run_child(stopper, code, log) == status


def test_statuses_of_children_side_by_side_are_in_their_order(tmp_path):
    # Each waits until the other has come; the second ends first.
    code = (
        "import pathlib, sys, time; own, other, ended = map(pathlib.Path, sys.argv[1:4]);"
        "own.touch();"
        "exec('while not other.exists(): time.sleep(0.01)');"
        "exec('while not ended.exists(): time.sleep(0.01)') if own.name == 'a' else ended.touch();"
        "print(own.name); sys.exit(int(sys.argv[4]))"
    )
    a, b, ended = (str(tmp_path / name) for name in ("a", "b", "ended"))
    with (
        children() as stopper,
        (tmp_path / "1").open("wb") as one,
        (tmp_path / "2").open("wb") as two,
    ):
        commands = [(a, b, ended, "3"), (b, a, ended, "4")]
        jobs = [
            ([sys.executable, "-S", "-c", code, *words], log)
            for words, log in zip(commands, (one, two), strict=True)
        ]
        assert stopper.run_together(jobs, ".", 60) == [3, 4]
    assert [(tmp_path / name).read_text() for name in "12"] == ["a\n", "b\n"]


def test_child_cannot_read_from_the_terminal_and_all_its_output_is_kept(tmp_path):
    code = "import sys; print(repr(sys.stdin.read())); print('oops', file=sys.stderr)"
    with children() as stopper, (tmp_path / "log").open("wb") as log:
        run_child(stopper, code, log)
    assert set((tmp_path / "log").read_text().split()) == {"''", "oops"}


def test_child_that_takes_too_long_is_ended(tmp_path, monkeypatch):
    started = []

    def popen(*arguments, **settings):
        started.append(original(*arguments, **settings))
        return started[-1]

    original = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", popen)
    with (
        children() as stopper,
        (tmp_path / "log").open("wb") as log,
        pytest.raises(subprocess.TimeoutExpired),
    ):
        run_child(stopper, "import time; time.sleep(1000)", log, seconds=0.01)
    (child,) = started
    assert child.returncode is not None


def test_program_that_cannot_be_run_is_said(tmp_path):
    (tmp_path / "python").write_bytes(b"\0")
    (tmp_path / "python").chmod(0o755)
    with children() as stopper, (tmp_path / "log").open("wb") as log:
        status = stopper.run([str(tmp_path / "python")], ".", log)
    assert status == 1
    assert "python cannot be run: Exec format error" in (tmp_path / "log").read_text()


def test_signal_between_two_children_is_not_lost(tmp_path):
    with children() as stopper, (tmp_path / "log").open("wb") as log:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(InterruptError):
            run_child(stopper, "print('started')", log)
    assert (tmp_path / "log").read_bytes() == b""


def test_handlers_of_signals_are_put_back():
    before = [signal.getsignal(number) for number in Children._SIGNALS]
    with children():
        assert signal.getsignal(signal.SIGINT) not in before
    assert [signal.getsignal(number) for number in Children._SIGNALS] == before


def test_nohup_is_heeded():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with children():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_child_that_ignores_signals_is_killed_with_all_that_it_started(
    real, capsys, monkeypatch, number
):
    monkeypatch.setattr("cnnprec.ab.processes._GRACE_SECONDS", 0.05)
    real.tell(A={"at": {"0001-A": "stubborn"}, "signal": number})
    assert real.run() == 130
    assert not list((real.out / "sessions").iterdir())
    ((child, helper),) = real.noted("running")
    wait_until(lambda: not alive(child) and not alive(helper))
    assert "0 complete sessions kept" in text_of(capsys)


def test_interrupted_command_leaves_no_process_loses_nothing_and_goes_on(real, bench):
    real.tell(B={"at": {"0002-B": "hang"}})
    command = real.start()
    wait_until(lambda: real.noted("running"))
    kept = real.files()
    kept.pop("0002-B.json.partial")
    assert sorted(kept) == ["0001-A.json", "0001-B.json"]
    command.send_signal(signal.SIGINT)
    _, errors = command.communicate()
    assert command.returncode == 130
    assert "2 complete sessions kept" in errors
    assert "Traceback" not in errors
    assert "goes on from there" in errors
    ((child, helper),) = real.noted("running")
    wait_until(lambda: not alive(child) and not alive(helper))
    assert real.files() == kept
    real.tell()
    assert bench.run() == 0  # the same bench, now without processes of its own
    assert real.measured()[:3] == ["0001-A", "0001-B", "0002-B"]
    assert real.measured()[3:] == [str(job) for job in planning.schedule(5)[2:]]
    assert {name: real.files()[name] for name in kept} == kept


def test_killed_command_leaves_no_process_and_loses_nothing(real, bench):
    real.tell(A={"at": {"0002-A": "hang"}})
    command = real.start()
    wait_until(lambda: real.noted("running"))
    command.kill()
    command.communicate()
    ((child, helper),) = real.noted("running")
    wait_until(lambda: not alive(child))
    # What the child itself had started is beyond the kernel's promise, but it keeps the folder
    # locked as long as it lives, so that no second measurement runs beside it.
    with contextlib.suppress(ProcessLookupError):
        os.kill(helper, signal.SIGKILL)
    wait_until(lambda: not alive(helper))
    kept = {name: content for name, content in real.files().items() if name.endswith(".json")}
    assert sorted(kept) == ["0001-A.json", "0001-B.json", "0002-B.json"]
    real.tell()
    assert bench.run() == 0
    assert real.measured()[4:] == [str(job) for job in planning.schedule(5)[3:]]
    assert {name: real.files()[name] for name in kept} == kept
    assert not list((real.out / "sessions").glob("*.partial"))
