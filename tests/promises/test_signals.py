"""SIGTERM and SIGHUP stop a session as Ctrl-C does; RESULTS so far are shown, nothing is saved."""

import re
import signal
import subprocess
import sys
import time

import pytest

from tests.pytest_plugin.test_whole_measurement import FILE
from tests.support.project import WORK

# Another Ctrl-C comes where pytest has begun to end the session.
AGAIN = """
import os
import signal

import pytest


@pytest.hookimpl(trylast=True)
def pytest_{hook}():
    os.kill(os.getpid(), signal.SIGINT)
"""
STOP = "import os\n\n\ndef test_stop():\n    os.kill(os.getpid(), {number})\n"


@pytest.mark.parametrize("hook", ["sessionfinish", "terminal_summary"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signal_shows_results_and_saves_nothing_though_another_follows(
    project, usual_signals, hook, number
):
    # The first precision is measured, and then the signal comes.
    (project.path / "benchmarks" / "test_untimed.py").write_text(STOP.format(number=int(number)))
    project.pytester.makepyfile(again=AGAIN.format(hook=hook))
    result = project.pytester.runpytest_inprocess(
        *("benchmarks", "-p", "no:cacheprovider", "-p", "again", *WORK, "--precision=single"),
        *("--benchmark-save=torso", "--benchmark-json=torso.json"),
        no_reraise_ctrlc=True,
        syspathinsert=True,
    )
    text = result.stdout.str() + result.stderr.str()
    assert result.ret == pytest.ExitCode.INTERRUPTED, text
    assert "= RESULTS =" in text
    assert "Interrupted: nothing was saved" in text
    assert "Traceback" not in text
    assert not list(project.path.rglob("*torso*"))


def test_first_ctrl_c_answers_within_two_seconds(pytester, usual_signals):
    # In the middle of TensorFlow, whose frames pytest would render one by one.
    text = FILE.format(what="open('started', 'w').close()", precision="single", seed=14)
    pytester.makepyfile(test_it=text)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "pytest", "-p", "cnnprec.pytest_plugin"),
            *("-p", "no:cacheprovider", "--dataset=synthetic", "--train-samples=320"),
            *("--epochs=1", "--runs=100000", "--turns=0", "--device=cpu", "--precision=single"),
            "--benchmark-save=torso",
        ],
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
    with process.stdout:  # communicate would miss what was read ahead
        rest = process.stdout.read()
    assert process.wait(60) == pytest.ExitCode.INTERRUPTED
    assert re.search(r"single: only \d+ of 100000 runs", rest)
    assert took < 2
    assert not list(pytester.path.rglob("unfinished*"))


def test_signals_do_again_what_they_did(saved):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    assert saved.run("--precision=single").ret == 0
    assert before == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
