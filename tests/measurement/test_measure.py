"""Measuring from Python gives what a session of pytest records."""

import pytest

import cnnprec
from cnnprec.machine.names import DeviceError
from cnnprec.records.record import Outcome
from cnnprec.workload.dataset import DatasetError

SMALL = {
    "dataset": "synthetic",
    "train_samples": 64,
    "epochs": 1,
    "runs": 2,
    "turns": 0,
    "device": "cpu",
}


def test_measure_returns_a_whole_record_of_each_precision():
    shown = []
    records = cnnprec.measure("single,half", order_seed=1, show=shown.append, **SMALL)
    assert set(records) == {"single", "half"}
    for name, record in records.items():
        assert len(record.rounds) == 2
        assert all(entry.seconds > 0 and entry.cpu_seconds > 0 for entry in record.rounds)
        assert record.data.name == "synthetic"
        assert record.companions == tuple({"single", "half"} - {name})
    assert records["single"].rounds[0].run.outcome is Outcome.TRAINED
    assert records["single"].diagnosis is None
    assert "second moment" in records["half"].diagnosis
    assert shown[-1] is None


def test_order_follows_the_seed():
    orders = {
        seed: [list(cnnprec.measure("single,half,double", order_seed=seed, **SMALL)) for _ in "ab"]
        for seed in (1, 2)
    }
    assert all(first == second for first, second in orders.values())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"precisions": "singel"}, ValueError, "Did you mean 'single'"),
        ({"profile": "fast"}, ValueError, "unknown profile 'fast'"),
        ({"runs": 0}, ValueError, "--runs 0: must be at least 1"),
        ({"device": "gpu:9"}, DeviceError, "--device gpu:9"),
        ({"precisions": "tf32"}, DeviceError, "has no TF32"),
        ({"dataset": "mnist"}, DatasetError, "unknown dataset 'mnist'"),
        ({"data_dir": "nowhere", "dataset": "fashion-mnist"}, DatasetError, "nowhere"),
    ],
)
def test_bad_arguments_are_refused_before_any_training(change, error, message, monkeypatch):
    monkeypatch.setattr("cnnprec.measurement.choose_jit.Trainer", None)
    with pytest.raises(error, match=message):
        cnnprec.measure(**{"precisions": "single", **SMALL, **change})


def test_what_a_training_raises_reaches_the_caller(monkeypatch):
    class Broken:
        def __init__(self, *arguments):
            raise MemoryError("too large")

    monkeypatch.setattr("cnnprec.measurement.choose_jit.Trainer", Broken)
    with pytest.raises(MemoryError, match="too large"):
        cnnprec.measure("single", **SMALL)


def test_jit_both_gives_a_record_with_xla_and_one_without():
    records = cnnprec.measure("single", jit="both", **SMALL)
    compiled = {name: record.jit_compiled for name, record in records.items()}
    assert compiled == {"single": False, "single_xla": True}
    assert records["single"].companions == ("single_xla",)


@pytest.mark.parametrize(("share", "compiled"), [(0.0, False), (float("inf"), True)])
def test_jit_best_records_what_it_chose(share, compiled, monkeypatch):
    monkeypatch.setattr("cnnprec.measurement.choose_jit.CLEARLY_FASTER", share)
    record = cnnprec.measure("single", jit="best", **SMALL)["single"]
    assert record.jit_compiled is compiled
    assert record.config.jit == "best"
    assert record.is_whole
