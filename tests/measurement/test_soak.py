"""A soak names the bit that was flipped, and passes only where every pass repeats the first one."""

import itertools
from collections.abc import Callable
from types import SimpleNamespace

import keras
import pytest
import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled

from cnnprec.machine.gpu_state import GpuState
from cnnprec.measurement import soak
from cnnprec.measurement.environment import describe_environment
from cnnprec.measurement.prepare import Prepared
from cnnprec.measurement.soak import Soak
from cnnprec.precision.precisions import PRECISIONS
from cnnprec.training.trainer import Trainer
from tests.faults.rows import bits, of, only_first

STEPS = 20  # of a pass of `tiny`


@pytest.fixture(scope="module")
def prepared(tiny_data) -> Prepared:
    return Prepared(tiny_data, describe_environment("cpu"))


class Memory:
    """Flips a bit of one element of a variable after some of the steps, counted over all passes."""

    def __init__(self, monkeypatch, steps, variable, element, bit):
        self.before = self.after = None
        take, count = Trainer.take, itertools.count()

        def faulty(trainer, number):
            take(trainer, number)
            if next(count) in steps:
                state = [*trainer.model.trainable_variables, *trainer.model.optimizer.variables]
                (wanted,) = (v for v in state if v.path.endswith(variable))
                value = wanted.numpy().copy()
                self.before = str(value[element])
                value.view(f"u{value.itemsize}")[element] ^= 1 << bit
                self.after = str(value[element])
                wanted.assign(value)

        monkeypatch.setattr(Trainer, "take", faulty)


@pytest.fixture
def seconds(monkeypatch) -> Callable[[int], float]:
    """A clock that each step moves by a second; the time that makes a pass the last one."""
    clock = itertools.count()
    stand_in = SimpleNamespace(monotonic=lambda: float(next(clock)))
    monkeypatch.setattr(soak, "time", stand_in)
    return lambda passes: (passes - 1) * STEPS + 1.0


def soaked(name, tiny, prepared, seconds=0.0, **options) -> Soak:
    found = Soak(PRECISIONS[name])
    found.run(tiny, prepared, seconds, **options)
    return found


@pytest.mark.parametrize("name", ["mixed_half"])
def test_two_passes_at_least_repeat_every_bit(name, tiny, prepared):
    shown = []
    found = soaked(name, tiny, prepared, show=shown.append)
    assert found.wrong == ""
    assert (found.steps, found.differences) == (STEPS, [])
    assert str(found).startswith(f"{name}: {STEPS} steps compared in ")
    assert str(found).endswith(", 0 differences")
    assert shown[-1] is None
    assert any(f"{name}: 0 steps compared" in str(line) for line in shown)
    assert not is_op_determinism_enabled()


@pytest.mark.parametrize(
    ("name", "variable", "words", "element", "bit", "size"),
    [
        ("single", "dense1/kernel", "dense1 kernel", (7, 3), 0, 576 * 64),
        ("bfloat16_stable", "conv2/kernel", "conv2 kernel", (2, 0, 31, 63), 15, 9 * 32 * 64),
        ("double", "dense2/kernel", "dense2 kernel", (63, 9), 51, 640),
        ("mixed_half", "conv3_kernel_velocity", "conv3 kernel velocity", (0, 0, 0, 1), 13, 36_864),
    ],
)
def test_one_flipped_bit_of_one_step_is_named(
    monkeypatch, tiny, prepared, seconds, name, variable, words, element, bit, size
):
    memory = Memory(monkeypatch, [2 * STEPS + 4], variable, element, bit)
    found = soaked(name, tiny, prepared, seconds=seconds(3))
    assert (found.repeats, found.steps) == (True, STEPS + 5)
    (text,) = found.differences
    assert text.startswith(f"{name}, pass 3, step 4: ")
    values = f"{memory.before} -> {memory.after}"
    assert f"{words}, element {element}: {values} (flipped bits: {bit}); " in text
    assert f"; 1 of its {size} elements differ, 1 of " in text
    assert found.wrong.startswith(f"FAIL: {name}: ")
    assert found.wrong.endswith(text)


def test_a_bit_that_the_compiled_step_flips_once_is_named(monkeypatch, tiny, prepared, seconds):
    steps, update = tf.Variable(0), keras.optimizers.Adam.update_step

    def faulty(self, gradient, variable, rate):
        update(self, gradient, variable, rate)
        if of("dense1")(variable):
            value = tf.convert_to_tensor(variable)
            flipped = bits(value, lambda i: tf.bitwise.bitwise_xor(i, 1 << 13))
            # The warm-up takes the steps of one execution first.
            now = steps.assign_add(1) == tiny.steps_per_execution + 2 * STEPS + 6
            variable.assign(tf.where(now, only_first(value, flipped), value))

    monkeypatch.setattr(keras.optimizers.Adam, "update_step", faulty)
    found = soaked("single", tiny, prepared, seconds=seconds(3))
    (text,) = found.differences
    assert text.startswith("single, pass 3, step 5: dense1 kernel, element (0, 0): ")
    assert "(flipped bits: 13); 1 of its 36864 elements differ, 1 of " in text


def test_a_device_that_does_not_repeat_is_inconclusive_and_no_pass(monkeypatch, tiny, prepared):
    Memory(monkeypatch, [STEPS + 2], "dense1/kernel", (0, 0), 1)
    found = soaked("single", tiny, prepared, seconds=1000.0)
    assert found.repeats is False
    assert found.steps == 3
    assert found.wrong.startswith("INCONCLUSIVE: single: 3 steps compared in ")
    assert "the device may not be deterministic" in found.wrong
    assert "pass 2, step 2: dense1 kernel" in found.wrong


def test_ten_differences_are_enough(monkeypatch, tiny, prepared):
    Memory(monkeypatch, range(2 * STEPS, 10**6), "dense1/kernel", (0, 0), 1)
    found = soaked("single", tiny, prepared, seconds=1000.0)
    assert len(found.differences) == 10
    assert found.steps == STEPS + 10


def test_what_an_interruption_leaves_is_counted_and_is_no_pass(monkeypatch, tiny, prepared):
    take, count = Trainer.take, itertools.count()

    def interrupted(trainer, steps):
        if next(count) == STEPS + 5:
            raise KeyboardInterrupt
        take(trainer, steps)

    monkeypatch.setattr(Trainer, "take", interrupted)
    found, shown = Soak(PRECISIONS["single"]), []
    with pytest.raises(KeyboardInterrupt):
        found.run(tiny, prepared, 1000.0, show=shown.append)
    assert str(found).startswith("single: 5 steps compared in ")
    assert found.wrong.startswith("INCONCLUSIVE")
    assert shown[-1] is None
    assert not is_op_determinism_enabled()


def test_errors_that_the_gpu_reports_are_a_failure():
    found = Soak(PRECISIONS["single"], steps=40, repeats=True)
    assert found.wrong == ""
    found.state = GpuState((), 0, (), 60, 1500, 250.0)
    assert found.wrong == ""
    found.state = GpuState((), 1, (79,), 60, 1500, 250.0)
    assert found.wrong.startswith("FAIL: the GPU reported errors: ")
    assert "new_ecc_errors=1, xid_errors=(79,)" in found.wrong


def test_nan_of_one_pattern_repeats_and_of_another_does_not(monkeypatch, tiny, prepared, seconds):
    # Pure half ends in NaN: which of its many patterns is compared as well.
    Memory(monkeypatch, [2 * STEPS + 19], "dense1/kernel", (5, 5), 0)
    found = soaked("half", tiny, prepared, seconds=seconds(3))
    (text,) = found.differences
    assert (
        "half, pass 3, step 19: dense1 kernel, element (5, 5): nan -> nan (flipped bits: 0)" in text
    )
