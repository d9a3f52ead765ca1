"""A process that is killed leaves its last words, and what it has measured."""

import signal
import subprocess
import sys

import pytest

from cnnprec.cli.main import main
from cnnprec.measurement.supported import step_bytes
from cnnprec.precision.precisions import PRECISIONS
from cnnprec.pytest_plugin import unfinished
from tests.pytest_plugin.test_whole_measurement import SMALL
from tests.support.project import REPOSITORY

# What a benchmark does, but for TensorFlow, which takes seconds to load: the session has one record
# of two when it is killed.
KILLED = """
import os
import signal

from cnnprec.pytest_plugin import unfinished
from tests.support.records import a_round, record


def test_training(pytestconfig):
    unfinished.prepare_words(pytestconfig)
    unfinished.keep(pytestconfig)(record("single", (a_round(2.0, seed=12),)))
    os.write(2, b"F tensorflow: Check failed: memory is full\\n")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("capture", ["fd", "no"])
def test_killed_session_tells_what_it_needs_and_keeps_what_it_has(pytester, capsys, capture):
    pytester.makepyfile(test_it=KILLED)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "cnnprec.pytest_plugin", *SMALL),
            *("-p", "no:cacheprovider", f"--capture={capture}", "--precision=single"),
            *("--benchmark-save=x", "--benchmark-storage=file://kept"),
        ],
        cwd=pytester.path,
        env={"PYTHONPATH": str(REPOSITORY), "COLUMNS": "80"},
        capture_output=True,  # and so until the shell that speaks last has ended
        text=True,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL
    words = done.stderr
    assert "single: only 1 of 2 runs were finished" in words
    assert "DIED: the process was killed" in words
    needed = step_bytes([PRECISIONS["single"]], 32) / 1e6
    assert f"A training step takes about {needed:.0f} MB" in words
    assert "lower --batch-size 32" in words
    assert words.count("F tensorflow: Check failed: memory is full") == 1
    (kept,) = (pytester.path / "kept").iterdir()
    assert f"cnnprec report {kept}" in words
    assert main(["report", str(kept)]) == 0
    assert "only 1 of 2 runs" in capsys.readouterr().out


def test_session_has_last_words_before_tensorflow_is_loaded_and_none_at_its_end(
    saved, monkeypatch, capfd
):
    said, real = [], unfinished.say

    def say(config, text):
        said.append(text)
        real(config, text)

    monkeypatch.setattr(unfinished, "say", say)
    monkeypatch.setattr(
        "cnnprec.pytest_plugin.session.Session.prepare", lambda session: said.append("TensorFlow")
    )
    saved.run("--precision=single", "--collect-only")
    assert not said
    saved.run("--precision=single")
    assert "DIED: the process was killed" in said[0]
    assert said[1] == "TensorFlow"
    assert said[-1] == ""
    assert "DIED" not in "".join(capfd.readouterr())
