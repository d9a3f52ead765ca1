"""Counting by binade, and the numbers of a real step that are counted."""

import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from cnnprec.diagnosis import snapshots
from cnnprec.diagnosis.histograms import Histogram, Kind, Snapshot, histogram, table
from cnnprec.diagnosis.replay import replay
from cnnprec.diagnosis.snapshots import collect
from cnnprec.diagnosis.step import as_float64
from cnnprec.precision.precisions import PRECISIONS, Precision
from cnnprec.training.model import build_model, initial_weights

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


def counts(found: Histogram) -> tuple[dict[int, int], int, int, int, int]:
    return dict(found.binades), found.zero, found.subnormal, found.infinite, found.nan


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
    assert counts(histogram(values, dtype)) == (
        {smallest: 1, normal: 1, 0: 2, largest: 1},
        2,
        1,
        3,
        2,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sign", [1, -1])
def test_subnormal_ends_exactly_at_the_smallest_normal_number(dtype, sign):
    normal = np.array(sign * math.ldexp(1.0, EXPONENTS[dtype][1])).astype(TYPES[dtype])
    below = np.nextafter(normal, np.array(0, TYPES[dtype]))
    assert histogram(normal, dtype).subnormal == 0
    assert histogram(below, dtype).subnormal == 1


def test_values_may_be_cast_to_a_wider_type_first():
    values = np.array([2.0**-24, 2.0**-14, 1.0, -0.0, np.inf, np.nan], np.float16)
    assert histogram(values.astype(np.float64), "float16") == histogram(values, "float16")


def test_the_same_value_is_subnormal_in_one_dtype_and_normal_in_another():
    assert histogram([2.0**-15], "float16").subnormal == 1
    assert histogram([2.0**-15], "bfloat16").subnormal == 0


@pytest.mark.parametrize("values", [[], np.zeros((0, 3), np.float32)])
def test_no_elements_give_an_empty_histogram(values):
    empty = histogram(values, "float32")
    assert counts(empty) == ({}, 0, 0, 0, 0)
    assert empty.elements == 0
    assert empty.share(0) == 0
    assert empty.spread == ()


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
    found = histogram(values, dtype)
    assert found.elements == len(values)
    assert found.zero == sum(value == 0 for value in values)
    assert found.infinite == sum(math.isinf(value) for value in values)
    assert found.nan == sum(math.isnan(value) for value in values)
    finite = [abs(value) for value in values if math.isfinite(value) and value]
    assert found.subnormal == sum(v < math.ldexp(1.0, EXPONENTS[dtype][1]) for v in finite)
    for exponent, count in found.binades.items():
        # Rationals: exact, and without the overflow of 2.0**1074.
        power = Fraction(2) ** exponent
        assert count == sum(power <= Fraction(v) < 2 * power for v in finite)
    assert sum(found.binades.values()) == len(finite)


@given(st.data(), st.sampled_from(DTYPES))
def test_multiplying_by_a_power_of_two_shifts_the_histogram(data, dtype):
    _, low, high = EXPONENTS[dtype]
    shift = data.draw(st.integers(-8, 8))
    # So that neither side leaves the normal range, which would round.
    exponents = st.integers(low + 8, high - 8)
    significands = st.integers(128, 255).map(lambda integer: integer / 128)
    pairs = data.draw(st.lists(st.tuples(significands, exponents), max_size=20))
    values = np.array([math.ldexp(*pair) for pair in pairs] + [0, np.inf, np.nan]).astype(
        TYPES[dtype]
    )
    before = histogram(values, dtype)
    after = histogram(values * TYPES[dtype](2.0**shift), dtype)
    assert dict(after.binades) == {e + shift: count for e, count in before.binades.items()}
    assert counts(after)[1:] == counts(before)[1:]


def test_multiplying_out_of_range_does_not_shift():
    values = np.array([2.0**-24, 1.0, 2.0**15], np.float16)
    with np.errstate(over="ignore"):
        assert counts(histogram(values * np.float16(2), "float16")) == (
            {-23: 1, 1: 1},
            *(0, 1, 1, 0),
        )
    assert counts(histogram(values / np.float16(2), "float16")) == ({-1: 1, 14: 1}, 1, 0, 0, 0)


def test_below_counts_nonzero_numbers_under_a_power_of_two():
    found = histogram([0.0, 0.5, 1.0, -0.999, 2.0, np.inf], "float32")
    assert [found.below(exponent) for exponent in (-1, 0, 1, 2)] == [0, 2, 3, 4]


@pytest.mark.parametrize(
    ("values", "spread"),
    [
        ([0.0, 1.0, 1.0, 4.0, 8.0, math.nan], (0, 2, 3)),
        ([0.25, 4.0, 4.0], (-2, 2, 2)),
        ([-0.5], (-1, -1, -1)),
    ],
)
def test_spread_is_that_of_the_sorted_binades(values, spread):
    assert histogram(values, "float32").spread == spread


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0%"),
        (1, "<0.1%"),
        (1000, "0.1%"),
        (200_000, "20.0%"),
        (999_000, "99.9%"),
        (999_999, ">99.9%"),
        (1_000_000, "100%"),
    ],
)
def test_percent_says_none_and_all_only_of_none_and_all(count, text):
    assert Histogram("float32", {}, zero=1_000_000, infinite=0, nan=0).percent(count) == text


def test_table_has_a_row_per_snapshot_with_its_shares():
    values = np.array([0, 0, 2.0**-20, 2.0**-30, 1, 1, 1, np.inf, np.nan, 4])
    lines = table(
        [
            Snapshot(PRECISIONS["single"], Kind.GRADIENTS, "float32", values),
            Snapshot(PRECISIONS["half"], Kind.SECOND_MOMENT, "float16", np.zeros(3)),
        ]
    )
    assert [" ".join(line.split()) for line in lines[1:]] == [
        "single gradients float32 10 20.0% 0% 20.0% 10.0% 10.0% 10.0% -30 0 2",
        "half second moment float16 3 100% 0% 0% 0% 0% 0% -",
    ]
    assert lines[0].split()[-6:] == ["subnormal", "<2^-14", "<2^-24", "Inf", "NaN", "binades"]


# Real steps.
SCALED_SINGLE = Precision("scaled_single", "float32", "float32", loss_scaling=True)
REAL = (*(PRECISIONS[name] for name in ("single", "half", "mixed_half")), SCALED_SINGLE)
SEED = 12
# Far below the scale at which the gradients of these images overflow.
SCALE = 2.0**8


@pytest.fixture(scope="module")
def batches(tiny_data):
    # Four images: as cheap as a step gets.
    return [(tiny_data.train_images[:4], tiny_data.train_labels[:4])]


@pytest.fixture(scope="module")
def real(batches):
    """Snapshots of step 0 by precision and kind."""
    return {precision.name: collected(precision, batches, SCALE) for precision in REAL}


def collected(precision: Precision, batches, scale: float) -> dict[Kind, Snapshot]:
    """The snapshots of a model whose loss scale, if it has one, is not the one of Keras."""

    def build(*arguments, **settings):
        model = build_model(*arguments, **settings)
        if precision.loss_scaling:
            model.optimizer.dynamic_scale.assign(scale)
        return model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshots, "build_model", build)
        return {s.kind: s for s in collect(precision, batches, seed=SEED)}


def replayed(name: str, batches):
    model = build_model(PRECISIONS[name], jit="off")
    for variable, value in zip(
        model.trainable_variables, initial_weights(model, SEED), strict=True
    ):
        variable.assign(value)
    return model, list(replay(model, batches))


@pytest.mark.parametrize("precision", REAL, ids=str)
def test_snapshots_have_the_kinds_and_dtypes_of_their_precision(precision, real):
    found = real[precision.name]
    stored, computed = precision.variable_dtype, precision.compute_dtype
    expected = dict.fromkeys(Kind, stored)
    expected[Kind.ACTIVATIONS] = expected[Kind.SCALED_GRADIENTS] = computed
    if not precision.loss_scaling:
        del expected[Kind.SCALED_GRADIENTS]
    assert {kind: snapshot.dtype for kind, snapshot in found.items()} == expected
    for kind, snapshot in found.items():
        assert snapshot.values.dtype == np.float64
        # What is not exact in the dtype did not come from it. (An update is a difference.)
        if kind is not Kind.UPDATES:
            rounded = snapshot.values.astype(TYPES[snapshot.dtype]).astype(np.float64)
            np.testing.assert_array_equal(rounded, snapshot.values)


def test_snapshots_have_one_number_per_weight_and_all_activations(real):
    # 93,322 weights; outputs of the layers that have them, for four images.
    activations = 4 * (26 * 26 * 32 + 11 * 11 * 64 + 3 * 3 * 64 + 64 + 10)
    assert {kind: s.values.size for kind, s in real["mixed_half"].items()} == {
        **dict.fromkeys(Kind, 93322),
        Kind.ACTIVATIONS: activations,
    }


def test_second_moment_of_half_is_zero_where_the_step_report_says(real, batches):
    _, (report,) = replayed("half", batches)
    first, second = (real["half"][k].values for k in (Kind.FIRST_MOMENT, Kind.SECOND_MOMENT))
    lost = np.count_nonzero((first != 0) & (second == 0))
    assert lost / second.size == report.second_moment_zero
    assert lost > 0


def test_second_moment_of_single_is_not_lost(real, batches):
    _, (report,) = replayed("single", batches)
    first, second = (real["single"][k].values for k in (Kind.FIRST_MOMENT, Kind.SECOND_MOMENT))
    assert np.count_nonzero((first != 0) & (second == 0)) == 0
    assert report.second_moment_zero == 0


def test_weights_and_updates_are_those_of_the_replayed_steps(tiny_data):
    parts = [slice(0, 4), slice(4, 8)]
    batches = [(tiny_data.train_images[part], tiny_data.train_labels[part]) for part in parts]
    found = {s.kind: s for s in collect(PRECISIONS["half"], batches, seed=SEED)}
    model, reports = replayed("half", batches)
    weights = np.concatenate([v.numpy().ravel() for v in model.trainable_variables])
    np.testing.assert_array_equal(found[Kind.WEIGHTS].values, weights.astype(np.float64))
    moved = np.count_nonzero(found[Kind.UPDATES].values) / weights.size
    assert moved == reports[1].moved


@pytest.mark.parametrize("name", ["mixed_half", "scaled_single"])
def test_loss_scale_shifts_gradients_by_its_exponent(name, real):
    scaled, meant = real[name][Kind.SCALED_GRADIENTS], real[name][Kind.GRADIENTS]
    assert scaled.loss_scale == SCALE
    assert scaled.histogram.binades
    assert dict(scaled.histogram.binades) == {
        e + 8: count for e, count in meant.histogram.binades.items()
    }
    assert counts(scaled.histogram)[1] == counts(meant.histogram)[1]


def test_gradients_under_a_loss_scale_are_those_without_it_where_nothing_underflows(real):
    # Computed apart, with and without the scale. In float32 nothing comes near underflow, so
    # that every product with a power of two is exact.
    single, scaled = (real[name][Kind.GRADIENTS] for name in ("single", "scaled_single"))
    np.testing.assert_array_equal(single.values, scaled.values)


def test_gradients_under_a_loss_scale_are_what_adam_gets(real):
    gradients = real["mixed_half"][Kind.GRADIENTS].values
    moments = real["mixed_half"][Kind.FIRST_MOMENT].values
    # m = (1 - 0.9) * g in float32: 0.1 and the product are rounded, each by 2**-24 at most;
    # the third covers the product of both errors.
    np.testing.assert_allclose(moments, 0.1 * gradients, rtol=3 * 2.0**-24, atol=0)
    assert np.any(gradients)


def test_loss_scale_saves_numbers_from_the_subnormals_of_float16(real):
    half = real["half"][Kind.GRADIENTS].histogram
    scaled = real["mixed_half"][Kind.SCALED_GRADIENTS].histogram
    assert half.subnormal > scaled.subnormal
    assert half.zero >= scaled.zero


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_subnormals_reach_the_snapshot_although_tensorflow_flushes_them(dtype):
    smallest = math.ldexp(1.0, EXPONENTS[dtype][0])
    tensor = tf.constant(np.full(4, smallest).astype(TYPES[dtype]))
    assert as_float64(tensor).tolist() == [smallest] * 4
    # The twin: why NumPy has to cast.
    if tf.test.is_built_with_cuda() and tf.config.get_visible_devices("GPU"):
        pytest.skip("GPUs keep subnormals in this cast")
    assert tf.cast(tensor, tf.float64).numpy().tolist() == [0.0] * 4


def test_overflow_under_the_loss_scale_is_seen_and_the_step_skipped(batches):
    # 2**24 lifts every gradient above 2**-8 out of float16, and the largest are above it.
    found = collected(PRECISIONS["mixed_half"], batches, 2.0**24)
    scaled = found[Kind.SCALED_GRADIENTS].histogram
    assert scaled.infinite + scaled.nan > 0
    assert all(s.skipped for s in found.values())
    assert found[Kind.SECOND_MOMENT].histogram.zero == 93322
    assert found[Kind.UPDATES].histogram.zero == 93322


def test_step_without_overflow_is_not_skipped(real):
    assert not any(s.skipped for s in real["mixed_half"].values())
    assert np.any(real["mixed_half"][Kind.UPDATES].values)
