"""SIGTERM and SIGHUP stop a session as Ctrl-C does; RESULTS so far are shown, nothing is saved."""

import os
import re
import signal
import time

import pytest

from tests.pytest_plugin.test_whole_measurement import FILE

ARGUMENTS = (
    *("-p", "cnnprec.pytest_plugin", "-p", "no:cacheprovider", "--dataset=synthetic"),
    *("--train-samples=320", "--epochs=1", "--runs=100000", "--turns=0", "--device=cpu"),
    *("--precision=single", "--benchmark-json=torso.json", "--benchmark-save=torso"),
)
# The second signal comes where pytest has begun to end the session.
AGAIN = """
import os
import signal

import pytest


@pytest.hookimpl(trylast=True)
def pytest_{hook}():
    os.kill(os.getpid(), signal.SIGINT)
"""


def stopped(pytester, number, *, fullsize=False) -> tuple[str, int, float]:
    """Its output, exit code and how long it took to end after the signal."""
    what = f"import signal; os.kill(os.getpid(), {int(number)})"
    text = FILE.format(what=what, precision="single", seed=14).replace("import time", "import os")
    pytester.makepyfile(test_it=text)
    result = pytester.runpytest_subprocess(*ARGUMENTS, timeout=120)
    return result.stdout.str() + result.stderr.str(), result.ret, result.duration


@pytest.mark.parametrize("hook", ["sessionfinish", "terminal_summary"])
def test_signal_shows_results_and_saves_nothing_though_another_follows(
    pytester, usual_signals, hook
):
    pytester.makeconftest(AGAIN.format(hook=hook))
    text, code, _ = stopped(pytester, signal.SIGTERM if hook == "sessionfinish" else signal.SIGHUP)
    assert code == pytest.ExitCode.INTERRUPTED, text
    assert "= RESULTS =" in text
    assert "single: only 2 of 100000 runs were finished" in text
    assert "Interrupted: nothing was saved" in text
    assert "Traceback" not in text
    assert not list(pytester.path.rglob("*torso*"))
    assert not list(pytester.path.rglob("unfinished*"))


def test_first_ctrl_c_answers_within_two_seconds(pytester, usual_signals):
    import subprocess
    import sys

    text = FILE.format(what="open('started', 'w').close()", precision="single", seed=14)
    pytester.makepyfile(test_it=text)
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *ARGUMENTS],
        cwd=pytester.path,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 100
    while not (pytester.path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    for line in process.stdout:
        if "= RESULTS =" in line:
            break
    took = time.monotonic() - began
    rest = process.communicate(timeout=60)[0]
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert re.search(r"single: only \d+ of 100000 runs", rest)
    assert took < 2


def test_signals_do_again_what_they_did(saved):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    assert saved.run("--precision=single").ret == 0
    assert before == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    assert os.getpid()
