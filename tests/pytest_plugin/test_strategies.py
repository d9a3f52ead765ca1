"""Whole sessions in which two logical devices of the CPU share each batch."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from cnnprec.records.read_sessions import read_session
from cnnprec.records.record import Record
from cnnprec.verdicts.comparability import differences, refused
from tests.support.project import REPOSITORY

# TensorFlow divides the CPU only before its first operation.
TWO_DEVICES = """
import tensorflow as tf

(cpu,) = tf.config.list_physical_devices("CPU")
halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, halves)
"""
WORK = [
    *("--dataset=synthetic", "--train-samples=64", "--epochs=1", "--batch-size=8"),
    *("--device=cpu", "--order-seed=1", "--runs=2", "--turns=10", "--numerics=off"),
]


def session(folder: Path, head: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs a session in a folder of its own; it saves to ``out.json`` there."""
    folder.mkdir()
    plugin = 'pytest_plugins = ["cnnprec.pytest_plugin"]\n'
    (folder / "conftest.py").write_text(plugin + head)
    (folder / "pytest.ini").write_text("[pytest]\n")
    source = REPOSITORY / "benchmarks" / "test_training.py"
    (folder / "test_training.py").write_text(source.read_text())
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", ".", *WORK, *options),
            "--benchmark-json=out.json",
        ],
        cwd=folder,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=600,
    )


def records(folder: Path) -> Mapping[str, Record]:
    return read_session(folder / "out.json").records


def test_mirrored_session_is_measured_beside_one_device_and_compared_with_none(tmp_path):
    options = ("--precision=single,half",)
    shared = session(tmp_path / "two", TWO_DEVICES, "--strategy=mirrored", *options)
    assert shared.returncode == 0, shared.stdout
    found = records(tmp_path / "two")
    assert "; mirrored, 2 replicas" in shared.stdout
    assert shared.stdout.count("times as fast as one device with the same batches") == 2
    for record in found.values():
        assert (record.config.strategy, record.environment.replicas) == ("mirrored", 2)
        assert record.turns is not None
        assert len(record.turns.one_device_seconds) == len(record.turns.seconds) == 10
    # The replay that says why half diverged is that of one device.
    assert "half diverged in 2 of 2 runs" in shared.stdout
    assert found["half"].diagnosis

    alone = session(tmp_path / "one", "", *options)
    assert alone.returncode == 0, alone.stdout
    before = records(tmp_path / "one")["single"]
    assert before.turns is not None
    assert before.turns.one_device_seconds == ()
    names = [difference.name for difference in refused(differences(before, found["single"]))]
    assert names == ["strategy", "replicas"]


@pytest.mark.parametrize(
    ("option", "head", "named"),
    [
        ("--soak=1m", "", "leave out --strategy"),
        ("--batch-size=9", TWO_DEVICES, "--batch-size 9: give a multiple of 2"),
        ("--precision=single", "", "TensorFlow sees 1 CPU, at least 2 are needed"),
    ],
)
def test_what_replicas_cannot_do_is_refused(tmp_path, option, head, named):
    refusal = session(tmp_path / "refused", head, "--strategy=mirrored", option)
    assert refusal.returncode == pytest.ExitCode.USAGE_ERROR, refusal.stdout
    assert named in " ".join((refusal.stdout + refusal.stderr).split())
