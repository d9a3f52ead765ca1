"""Counting by binade, and the numbers of a real step that are counted."""

import dataclasses
import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from cnnprec.diagnosis.histograms import first_step, histogram
from cnnprec.diagnosis.replay import replay
from cnnprec.diagnosis.step import as_float64
from cnnprec.precision.precisions import PRECISIONS, Precision
from cnnprec.records.numerics import Histogram, Kind
from cnnprec.training.trainer import Trainer

TYPES = {
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float32": np.float32,
    "float64": np.float64,
}
# IEEE 754 and bfloat16: exponents of the smallest subnormal, smallest normal, largest number.
EXPONENTS = {
    "float16": (-24, -14, 15),
    "bfloat16": (-133, -126, 127),
    "float32": (-149, -126, 127),
    "float64": (-1074, -1022, 1023),
}
DTYPES = sorted(TYPES)


def counted(values) -> Histogram:
    return histogram(Kind.WEIGHTS, values)


def binades(found: Histogram) -> dict[int, int]:
    return {e: count for e, count in enumerate(found.counts, found.first) if count}


@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values_are_counted_where_they_belong(dtype):
    smallest, normal, largest = EXPONENTS[dtype]
    kind = TYPES[dtype]
    values = np.array(
        [
            *(0.0, -0.0),
            *(math.inf, -math.inf, math.inf),
            *(math.nan, -math.nan),
            math.ldexp(1.0, smallest),
            -math.ldexp(1.0, normal),
            float(ml_dtypes.finfo(kind).max),
            *(1.0, -1.5),
        ],
        np.float64,
    ).astype(kind)
    found = counted(values)
    assert binades(found) == {smallest: 1, normal: 1, 0: 2, largest: 1}
    assert (found.zero, found.infinite, found.nan, found.elements) == (2, 3, 2, 12)
    assert found.below(normal) == 1


@pytest.mark.parametrize("values", [[], np.zeros((0, 3), np.float32)])
def test_no_elements_give_an_empty_histogram(values):
    assert counted(values) == (Kind.WEIGHTS, 0, 0, 0, 0, ())


def any_value(dtype: str) -> st.SearchStrategy[float]:
    if dtype == "bfloat16":
        # The upper half of a float32 is a bfloat16.
        return st.integers(0, 2**16 - 1).map(
            lambda bits: float(np.uint16(bits).view(ml_dtypes.bfloat16))
        )
    return st.floats(width=int(dtype.removeprefix("float")))


@given(st.data(), st.sampled_from(DTYPES))
def test_counts_add_up_and_agree_with_one_value_at_a_time(data, dtype):
    values = data.draw(st.lists(any_value(dtype), max_size=20))
    found = counted(values)
    assert found.elements == len(values)
    assert found.zero == sum(value == 0 for value in values)
    assert found.infinite == sum(math.isinf(value) for value in values)
    assert found.nan == sum(math.isnan(value) for value in values)
    finite = [abs(value) for value in values if math.isfinite(value) and value]
    # Rationals: exact, and without the overflow of 2.0**1074.
    for exponent, count in binades(found).items():
        power = Fraction(2) ** exponent
        assert count == sum(power <= Fraction(v) < 2 * power for v in finite)
        assert found.below(exponent) == sum(Fraction(v) < power for v in finite)
    assert sum(found.counts) == len(finite)


@pytest.mark.parametrize(
    ("values", "median"),
    [([0.0, 1.0, 1.0, 4.0, 8.0, math.nan], 2), ([0.25, 4.0, 4.0], 2), ([-0.5], -1)],
)
def test_median_is_that_of_the_sorted_binades(values, median):
    assert counted(values).median == median


# Real steps.
SCALED_SINGLE = Precision("scaled_single", "float32", "float32", loss_scaling=True)
REAL = (*(PRECISIONS[name] for name in ("single", "half", "mixed_half")), SCALED_SINGLE)
# Far below the scale at which the gradients of these images overflow.
SCALE = 2.0**8


def trainer_of(precision: Precision, tiny, tiny_data, scale: float = SCALE) -> Trainer:
    # Four images: as cheap as a step gets.
    trainer = Trainer(precision, dataclasses.replace(tiny, batch_size=4), tiny_data)
    if precision.loss_scaling:
        trainer.model.optimizer.dynamic_scale.assign(scale)
        trainer._optimizer_start = [v.numpy() for v in trainer.model.optimizer.variables]
    trainer.warm_up()
    return trainer


@pytest.fixture(scope="module")
def real(tiny, tiny_data):
    """The histograms of step 0 by precision and kind, and the trainers after it."""
    trainers = {precision.name: trainer_of(precision, tiny, tiny_data) for precision in REAL}
    return {name: {h.kind: h for h in first_step(t)} for name, t in trainers.items()}, trainers


@pytest.mark.parametrize("precision", REAL, ids=str)
def test_every_weight_is_counted_once_in_each_kind(precision, real):
    kinds = [kind for kind in Kind if precision.loss_scaling or kind is not Kind.SCALED_GRADIENTS]
    found = real[0][precision.name]
    assert list(found) == kinds
    assert {h.elements for h in found.values()} == {93322}


def test_what_is_counted_is_the_model_after_its_first_step(real):
    counts, trainers = real
    weights = np.concatenate([w.ravel() for w in trainers["half"].model.get_weights()])
    assert counts["half"][Kind.WEIGHTS] == histogram(Kind.WEIGHTS, weights)
    assert int(trainers["half"].model.optimizer.iterations) == 1


def test_second_moment_of_half_is_zero_where_the_step_report_says(real):
    counts, trainers = real
    trainer = trainers["half"]
    trainer.reset(trainer.config.seed)
    (report,) = replay(trainer.model, trainer.batches.take(1))
    velocity = counts["half"][Kind.SECOND_MOMENTS]
    both_zero = velocity.zero / velocity.elements - report.second_moment_zero
    assert report.second_moment_zero > 0.5
    assert 0 < both_zero < 0.5
    assert counts["single"][Kind.SECOND_MOMENTS].zero < velocity.zero


@pytest.mark.parametrize("name", ["mixed_half", "scaled_single"])
def test_loss_scale_shifts_gradients_by_its_exponent(name, real):
    scaled, meant = (real[0][name][k] for k in (Kind.SCALED_GRADIENTS, Kind.GRADIENTS))
    assert any(meant.counts)
    assert scaled == meant._replace(kind=Kind.SCALED_GRADIENTS, first=meant.first + 8)


def test_gradients_under_a_loss_scale_are_those_without_it_where_nothing_underflows(real):
    # Computed apart, with and without the scale. In float32 nothing comes near underflow, so
    # that every product with a power of two is exact.
    assert real[0]["single"][Kind.GRADIENTS] == real[0]["scaled_single"][Kind.GRADIENTS]


def test_loss_scale_saves_numbers_from_the_subnormals_of_float16(real):
    half = real[0]["half"][Kind.GRADIENTS]
    scaled = real[0]["mixed_half"][Kind.SCALED_GRADIENTS]
    assert half.below(-14) > scaled.below(-14)
    assert half.zero >= scaled.zero


def test_overflow_under_the_loss_scale_is_counted_and_the_moments_stay_zero(tiny, tiny_data):
    # 2**24 lifts every gradient above 2**-8 out of float16, and the largest are above it.
    trainer = trainer_of(PRECISIONS["mixed_half"], tiny, tiny_data, 2.0**24)
    found = {h.kind: h for h in first_step(trainer)}
    assert found[Kind.SCALED_GRADIENTS].infinite + found[Kind.SCALED_GRADIENTS].nan > 0
    assert found[Kind.SECOND_MOMENTS].zero == 93322


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_subnormals_are_counted_although_tensorflow_flushes_them(dtype):
    smallest = EXPONENTS[dtype][0]
    tensor = tf.constant(np.full(4, math.ldexp(1.0, smallest)).astype(TYPES[dtype]))
    assert binades(counted(as_float64(tensor))) == {smallest: 4}
    # The twin: why NumPy has to cast.
    if tf.test.is_built_with_cuda() and tf.config.get_visible_devices("GPU"):
        pytest.skip("GPUs keep subnormals in this cast")
    assert tf.cast(tensor, tf.float64).numpy().tolist() == [0.0] * 4
