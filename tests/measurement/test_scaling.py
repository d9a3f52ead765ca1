"""Points of a scaling study, measured with stand-ins for the trainer."""

import pytest
import tensorflow as tf

from cnnprec.measurement import session
from cnnprec.measurement.scaling import measure_points
from cnnprec.precision.precisions import parse_precisions
from cnnprec.training.trainer import Trainer
from cnnprec.workload.profiles import TrainingConfig

CONFIG = TrainingConfig("scaling", 8, 10, 1, 1, 4, turns=10, width=2)
BOTH = parse_precisions("single,mixed_bfloat16")


def refuse(monkeypatch, error):
    real = Trainer.warm_up

    def warm_up(self):
        if self.precision.name == "mixed_bfloat16":
            raise error
        real(self)

    monkeypatch.setattr(Trainer, "warm_up", warm_up)


def test_precision_out_of_memory_is_told_and_the_others_are_measured(monkeypatch):
    refuse(monkeypatch, tf.errors.ResourceExhaustedError(None, None, "OOM for [4]\nmore"))
    single, mixed = measure_points(BOTH, CONFIG, "cpu")
    assert (single.precision, single.width, single.batch) == ("single", 2, 4)
    assert len(single.step_seconds) == 10
    assert single.missing == ""
    assert (mixed.step_seconds, mixed.missing) == ((), "out of memory: OOM for [4]")


def test_any_other_error_is_raised(monkeypatch):
    refuse(monkeypatch, RuntimeError("no kernel"))
    with pytest.raises(RuntimeError, match="no kernel"):
        list(measure_points(BOTH, CONFIG, "cpu"))


def test_what_did_not_train_is_not_replayed(monkeypatch):
    monkeypatch.setattr(session, "diagnose_run", None)  # calling it would raise
    (point,) = measure_points(parse_precisions("bfloat16"), CONFIG, "cpu")
    assert len(point.step_seconds) == 10
