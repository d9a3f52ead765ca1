"""What cannot end well is refused before training, with a message and no traceback."""

import math
import os
from pathlib import Path

import pytest

from cnnprec.machine import memory
from cnnprec.measurement import supported
from cnnprec.precision.precisions import PRECISIONS
from cnnprec.pytest_plugin import saving
from cnnprec.training.model import build_model


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--benchmark-save=" + "x" * 300, "a file name cannot hold it"),
        ("--benchmark-save=a\nb", "--benchmark-save=a\\nb: a file name cannot hold it"),
        ("--benchmark-compare=" + "9" * 5000, "NO_BASELINE: there are no saved sessions"),
        ("--train-samples=1000000000000", "--train-samples 1000000000000: must be at most"),
        ("--train-samples=1000000000", "of memory"),
        ("--epochs=1" + "0" * 30, "must be at most 1000000000"),
    ],
)
def test_option_that_cannot_end_well_is_refused(saved, option, message):
    assert message in saved.refused("--precision=single", option)


def test_names_of_every_usual_kind_are_saved(saved):
    name = "é" * 60 + "-" * 70 + ".9 b"
    assert saved.run("--precision=single", f"--benchmark-save={name}").ret == 0
    assert (saved.folder / f"0007_{name}.json").exists()


def test_storage_that_cannot_be_listed_is_refused(saved, monkeypatch):
    real = os.listdir  # which Python 3.13 finds plugins with

    def listdir(path):
        if Path(path) == saved.folder:
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(saving.os, "listdir", listdir)
    text = saved.refused("--precision=single", "--benchmark-save=x")
    assert "cannot be written and listed" in text
    assert "Permission denied" in text


@pytest.mark.parametrize(
    ("limit", "refused"),
    [("memory.max", 8), ("memory.max", None), ("limit_in_bytes", 8), (None, 8), (None, 16)],
)
def test_batch_that_cannot_fit_is_refused_before_tensorflow(
    saved, tmp_path, monkeypatch, limit, refused
):
    # 64 images take 19.4 MB in single, as much in mixed_half or less, and 38.7 MB in double.
    have = {"MemAvailable": 10**9, "memory.max": "max", "limit_in_bytes": 2**63 - 4096}
    if refused:
        have[limit or "MemAvailable"] = 25 * 10**6 if refused == 8 else 15 * 10**6
    for name, value in have.items():
        text = f"MemFree: 1 kB\nMemAvailable: {value // 1000} kB\n" if name[0] == "M" else value
        (tmp_path / name).write_text(str(text))
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "MemAvailable")
    monkeypatch.setattr(memory, "_LIMITS", (tmp_path / "memory.max", tmp_path / "limit_in_bytes"))
    asked = ("--precision=half,double", "--batch-size=64")
    if refused is None:
        assert saved.run(*asked).ret == 0
        return
    text = saved.refused(*asked)
    assert "--batch-size 64: a training step takes about 0.0 GB of memory" in text
    most = int(text.split("lower it to ")[1].split()[0])
    assert 20 <= most < 64
    assert saved.run("--precision=half,double", f"--batch-size={most}").ret == 0
    assert saved.run("--precision=half", "--batch-size=64").ret == 0


def test_memory_of_the_gpu_counts_where_there_is_one(monkeypatch):
    gpu = type("Gpu", (), {"model": "Small GPU", "memory_bytes": 10**9})
    monkeypatch.setattr(supported, "query_gpus", lambda: (None, gpu))
    single = (PRECISIONS["single"],)
    supported.check_batch(single, 3000, "gpu:1")
    with pytest.raises(ValueError, match=r"--batch-size 4000: .* Small GPU has 1.0 GB; lower it"):
        supported.check_batch(single, 4000, "gpu:1")
    supported.check_batch(single, 4000, "cpu")


def test_estimate_counts_every_output_of_the_model():
    layers = build_model("single").layers
    outputs = [math.prod(layer.output.shape[1:]) for layer in layers if layer.name != "flatten"]
    assert supported.step_bytes([PRECISIONS["single"]], 1) == 2 * 4 * sum(outputs)
