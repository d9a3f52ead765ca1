"""The limits of the device are the best that was seen; the stages of a step add up to it."""

import itertools
import math

import pytest

from cnnprec.measurement import limits
from cnnprec.measurement.limits import device_limits, examine_limits
from cnnprec.precision.precisions import PRECISIONS
from cnnprec.training.operations import step_parts
from cnnprec.training.trainer import Trainer
from cnnprec.verdicts.step_limits import DRIFT


@pytest.fixture
def small(monkeypatch):
    """Little work, so that a test takes a second."""
    for name, value in (
        ("_MATRICES", (64, 128)),
        ("_IMAGES", (1, 2)),
        ("_MEMORY", 2**16),
        ("_CHAIN", 50),
        ("_TRIED_SECONDS", 0.01),
    ):
        monkeypatch.setattr(limits, name, value)
    device_limits.cache_clear()
    yield
    device_limits.cache_clear()


def clock(monkeypatch, seconds):
    """Has calls take these seconds, one after the other."""
    times = iter(seconds)
    taken = []

    def timed(call):
        taken.append(call)
        return next(times)

    monkeypatch.setattr(limits, "_timed", timed)
    return taken


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_every_limit_of_every_dtype_is_measured(small, dtype):
    found = device_limits(dtype, False, True)
    assert all(math.isfinite(value) and value > 0 for value in found)


def test_precisions_of_one_dtype_share_what_was_measured(small):
    once = device_limits("float32", False, False)
    assert device_limits("float32", False, False) is once
    assert device_limits("float32", False, True) is not once


def test_best_of_the_calls_counts_and_the_first_one_does_not(monkeypatch):
    clock(monkeypatch, [0.001, 0.09, 0.08, 0.1])
    assert limits._best(lambda: None) == 0.08


def test_short_calls_are_repeated_for_as_long_as_is_tried(monkeypatch):
    monkeypatch.setattr(limits, "_TRIED_SECONDS", 0.1)
    taken = clock(monkeypatch, itertools.repeat(0.015))
    limits._best(lambda: None)
    assert len(taken) == 1 + 7


def test_size_grows_until_a_call_fills_the_device_and_the_highest_rate_counts(monkeypatch):
    # Two calls a size where one takes as long as is tried, the first of which does not count.
    monkeypatch.setattr(limits, "_TRIED_SECONDS", 0.01)
    taken = clock(monkeypatch, [0.01] * 2 + [0.5] * 2)
    assert limits._rate(lambda x: x, lambda size: (size, 1), (100, 1000, 10**9), False) == 10_000
    assert len(taken) == 4


def test_compiled_rate_counts_where_it_is_higher_and_xla_is_on(monkeypatch):
    clock(monkeypatch, [0.5] * 2 + [0.25] * 2)
    assert limits._rate(lambda x: x, lambda size: (size, 1), (1000,), True) == 1000 / 0.25
    clock(monkeypatch, [0.5] * 2)
    assert limits._rate(lambda x: x, lambda size: (size, 1), (1000,), False) == 1000 / 0.5


@pytest.mark.parametrize("name", ["single", "mixed_half"])
def test_stages_of_a_step_add_up_and_only_the_last_one_trains(small, name, tiny, tiny_data):
    trainer = Trainer(PRECISIONS[name], tiny, tiny_data)
    trainer.warm_up()
    taken, take = [], trainer.model.take_steps

    def counted(iterator, steps):
        taken.append(int(steps))
        return take(iterator, steps)

    counted.get_concrete_function = take.get_concrete_function
    trainer.model.take_steps = counted
    found = examine_limits(trainer)
    assert found.parts == step_parts(trainer.model, tiny.batch_size)
    # Backward takes about twice as long as forward, and a step takes all of it.
    assert found.times.input < found.times.forward < found.times.backward
    assert found.times.forward < found.times.step
    assert found.launches > 100
    # A loss scale that is still too large skips a step, which is not counted.
    skipped = sum(taken) - int(trainer.model.optimizer.iterations)
    assert skipped in (0, 1) if trainer.precision.loss_scaling else skipped == 0


def test_compiled_stages_keep_the_gradients(tiny, tiny_data, small):
    compiled = tiny.override(jit="on")
    trainer = Trainer(PRECISIONS["single"], compiled, tiny_data)
    trainer.warm_up()
    found = examine_limits(trainer)
    assert found.times.forward < found.times.backward
    assert found.launches == 1


def test_no_rate_of_the_small_step_is_above_the_limit(tiny, tiny_data):
    trainer = Trainer(PRECISIONS["single"], tiny, tiny_data)
    trainer.warm_up()
    found = examine_limits(trainer)
    assert found.operations / found.times.step < DRIFT * found.device.highest
