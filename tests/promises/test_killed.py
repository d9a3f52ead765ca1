"""A process that is killed leaves its last words, and what it has measured."""

import os
import signal
import subprocess

from cnnprec.cli.main import main
from tests.pytest_plugin.test_whole_measurement import SMALL

KILLED = """
import os
import signal
import sys

import pytest

from cnnprec.training.trainer import Trainer

fit = Trainer.fit


def fit_until_memory_is_full(trainer, on_progress=None):
    if trainer._seed == 13:
        os.write(2, b"F tensorflow: Check failed: memory is full\\n")
        os.kill(os.getpid(), signal.SIGKILL)
    fit(trainer, on_progress)


Trainer.fit = fit_until_memory_is_full


@pytest.mark.precision_benchmark
def test_training(precision, measure):
    measure(precision)
"""


def test_killed_session_tells_what_it_needs_and_keeps_what_it_has(pytester, capsys):
    pytester.makepyfile(test_it=KILLED)
    result = pytester.runpytest_subprocess(
        *("-p", "cnnprec.pytest_plugin", "-p", "no:cacheprovider", *SMALL),
        *("--precision=single", "--benchmark-save=x", "--benchmark-storage=file://kept"),
        timeout=120,
    )
    assert result.ret == -signal.SIGKILL
    words = result.stderr.str()
    assert "single: only 1 of 2 runs were finished" in words
    assert "DIED: the process was killed" in words
    assert "about 10 MB" in words  # 32 images in single
    assert "lower --batch-size 32" in words
    assert "F tensorflow: Check failed: memory is full" in words
    (kept,) = (pytester.path / "kept").iterdir()
    assert f"cnnprec report {kept}" in words
    assert main(["report", str(kept)]) == 0
    assert "only 1 of 2 runs" in capsys.readouterr().out


def test_session_that_ends_by_itself_has_no_last_words(saved, capfd):
    before = children()
    assert saved.run("--precision=single").ret == 0
    assert saved.run("--precision=single", "-x", "--tolerance=nan").ret != 0
    assert children() == before
    assert "DIED" not in "".join(capfd.readouterr())


def children() -> str:
    """The processes that this one has started and that still run."""
    asked = ["ps", "--ppid", str(os.getpid()), "-o", "pid=,comm="]
    return "\n".join(
        line
        for line in subprocess.run(asked, capture_output=True, text=True).stdout.splitlines()
        if " ps" not in line
    )
