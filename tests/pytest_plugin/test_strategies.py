"""Whole sessions in which two logical devices of the CPU, or two workers, share each batch."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from cnnprec.records.read_sessions import read_session
from cnnprec.records.record import Record
from tests.support.project import REPOSITORY
from tests.support.workers import loopback

# TensorFlow divides the CPU only before its first operation.
TWO_DEVICES = """
import tensorflow as tf

(cpu,) = tf.config.list_physical_devices("CPU")
halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, halves)
"""
WORK = [
    *("--dataset=synthetic", "--train-samples=64", "--epochs=1", "--batch-size=8"),
    *("--device=cpu", "--order-seed=1", "--runs=1", "--turns=10", "--numerics=off"),
]


def start(folder: Path, head: str, *options: str, **variables: str) -> subprocess.Popen[str]:
    """Starts a session in a folder of its own; it saves to ``out.json`` there."""
    folder.mkdir()
    plugin = 'pytest_plugins = ["cnnprec.pytest_plugin"]\n'
    (folder / "conftest.py").write_text(plugin + head)
    (folder / "pytest.ini").write_text("[pytest]\n")
    source = REPOSITORY / "benchmarks" / "test_training.py"
    (folder / "test_training.py").write_text(source.read_text())
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", ".", *WORK, *options),
            "--benchmark-json=out.json",
        ],
        cwd=folder,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": os.environ["PATH"]} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str], timeout: float = 280) -> subprocess.CompletedProcess[str]:
    """What a session printed; it has to end in time."""
    with process:
        try:
            out, err = process.communicate(timeout=timeout)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def records(folder: Path) -> Mapping[str, Record]:
    return read_session(folder / "out.json").records


def test_mirrored_session_is_measured_beside_one_device(tmp_path):
    options = ("--strategy=mirrored", "--precision=half,mixed_half", "--numerics=quick")
    shared = ended(start(tmp_path / "two", TWO_DEVICES, *options))
    assert shared.returncode == 0, shared.stdout
    found = records(tmp_path / "two")
    assert "; mirrored, 2 replicas" in shared.stdout
    assert shared.stdout.count("times as fast as one device with the same batches") == 2
    for record in found.values():
        assert (record.config.strategy, record.environment.replicas) == ("mirrored", 2)
        assert record.turns is not None
        assert len(record.turns.one_device_seconds) == len(record.turns.seconds) == 10
        assert record.numerics is not None
        assert record.numerics.wrong == ()
    # The replay that says why half diverged is that of one device.
    assert "half diverged in 1 of 1 runs" in shared.stdout
    assert found["half"].diagnosis


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--strategy=mirrored", "--soak=1m"), "leave out --strategy"),
        (("--strategy=mirrored",), "TensorFlow sees 1 CPU, at least 2 are needed"),
        (("--strategy=multiworker",), "TF_CONFIG '{': Expecting"),
    ],
)
def test_what_replicas_cannot_do_is_refused(tmp_path, options, named):
    refusal = ended(start(tmp_path / "refused", "", *options, TF_CONFIG="{"))
    assert refusal.returncode == pytest.ExitCode.USAGE_ERROR, refusal.stdout
    assert named in " ".join((refusal.stdout + refusal.stderr).split())


@pytest.fixture
def workers(tmp_path):
    """Starts two sessions on loopback with these options, of which none is left behind."""
    started: list[subprocess.Popen[str]] = []

    def start_both(*options: str) -> list[subprocess.Popen[str]]:
        for index, config in enumerate(loopback(2)):
            folder = tmp_path / f"worker{index}"
            both = ("--strategy=multiworker", *options)
            started.append(start(folder, "", *both, TF_CONFIG=config))
        return started

    yield start_both
    for process in started:
        with process:
            process.kill()


def test_two_workers_measure_and_save_the_same_session_each(tmp_path, workers):
    for process in workers("--precision=single,mixed_half"):
        done = ended(process)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "; multiworker, 2 replicas" in done.stdout
        assert "order seed 1" in done.stdout
    first, second = (records(tmp_path / f"worker{index}") for index in (0, 1))
    for name in ("single", "mixed_half"):
        one, other = first[name], second[name]
        assert [entry.run for entry in one.rounds] == [entry.run for entry in other.rounds]
        assert one.turns is not None
        assert other.turns is not None
        assert one.turns.steps == other.turns.steps
        assert one.turns.warm_up == other.turns.warm_up
        assert len(one.turns.one_device_seconds) == len(other.turns.seconds) == 10
        assert not any("TF_CONFIG" in text for text in one.environment.variables)


def test_session_ends_within_a_minute_of_the_other_worker_and_keeps_what_was_measured(
    tmp_path, workers
):
    chief, left = workers("--precision=single", "--turns=1000000")
    folder = tmp_path / "worker1"
    while not runs_kept(folder):
        assert chief.poll() is left.poll() is None
        time.sleep(0.1)
    chief.send_signal(signal.SIGKILL)
    done = ended(left, timeout=60)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "WORKER LOST: another worker has ended, or cannot be reached" in done.stdout
    (kept,) = re.findall("What was measured is kept: cnnprec report (.*)", done.stdout)
    assert len(read_session(Path(kept)).records["single"].rounds) == 1


def runs_kept(folder: Path) -> bool:
    """Whether a session that goes on has all its runs, and so takes turns."""
    files = list(folder.glob("unfinished-*.session"))
    return bool(files) and len(read_session(files[0]).records["single"].rounds) == 1
