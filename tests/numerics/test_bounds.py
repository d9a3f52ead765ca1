"""The derived error bounds hold for real rounding, and reject what is just outside."""

from __future__ import annotations

import dataclasses
import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cnnprec.numerics.arithmetic import ACCUMULATORS, Arithmetic, arithmetic_for, gamma
from cnnprec.numerics.bounds import Enclosure, contraction, exactly, summation
from cnnprec.numerics.discrepancy import discrepancy, hoeffding_limit
from cnnprec.numerics.tracked import Tracked
from cnnprec.precision.formats import FORMATS, get_format, round_to, spacing

DTYPES = tuple(FORMATS)


@pytest.mark.parametrize("dtype", DTYPES)
def test_formats_agree_with_ml_dtypes(dtype):
    fmt, info = FORMATS[dtype], ml_dtypes.finfo(FORMATS[dtype].numpy_dtype)
    assert fmt.max_finite == float(info.max)
    assert fmt.smallest_normal == float(info.smallest_normal)
    assert fmt.smallest_subnormal == float(info.smallest_subnormal)
    assert 2 * fmt.unit_roundoff == float(info.eps)


def test_an_unknown_format_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'float8'.*float16, bfloat16, float32, float64"):
        get_format("float8")


# --- rounding ---------------------------------------------------------------------------


@settings(deadline=None)
@given(st.floats(width=32))
@example(65519.99609375)
@example(65520.0)
@example(math.nan)
@example(-0.0)
@example(2.0**-25)
@example(3 * 2.0**-25)
def test_rounding_float32_agrees_with_the_casts_of_numpy_and_ml_dtypes(value):
    # From float32 those casts round once, so they are an independent reference.
    for dtype in ("float16", "bfloat16"):
        with np.errstate(over="ignore"):
            cast = np.float32(value).astype(FORMATS[dtype].numpy_dtype).astype(np.float64)
        rounded = round_to(np.asarray(value), dtype)
        np.testing.assert_array_equal(rounded, cast)
        assert np.signbit(rounded) == np.signbit(cast) or math.isnan(value)


@settings(deadline=None)
@given(st.floats(allow_nan=False))
def test_rounding_float64_agrees_with_numpy(value):
    for dtype in ("float16", "float32", "float64"):
        with np.errstate(over="ignore"):
            assert round_to(np.asarray(value), dtype) == np.float64(value).astype(dtype)


def test_rounding_to_bfloat16_rounds_once_where_ml_dtypes_rounds_twice():
    # A hair above the tie between 1 and 1 + 2**-7; float32 would drop the hair.
    value = np.asarray(1 + 2.0**-8 + 2.0**-40)
    assert round_to(value, "bfloat16") == 1 + 2.0**-7
    assert float(value.astype(ml_dtypes.bfloat16)) == 1.0


@pytest.mark.parametrize("dtype", DTYPES)
def test_spacing_is_the_distance_to_the_next_number_outward(dtype):
    one = FORMATS[dtype].numpy_dtype.type(1)
    for value in (one, one * 3, -one, one * 0):
        if dtype == "bfloat16":
            following = ml_dtypes.bfloat16(value) + ml_dtypes.bfloat16(0)
            bits = np.asarray(following).view(np.uint16) + np.uint16(1)
            neighbour = float(bits.view(ml_dtypes.bfloat16))
        else:
            neighbour = float(np.nextafter(value, np.copysign(one * math.inf, value)))
        assert spacing(np.asarray(float(value)), dtype) == abs(neighbour - float(value))


# --- constants --------------------------------------------------------------------------


def test_gamma_is_n_u_over_1_minus_n_u():
    assert gamma(4, 0.125) == 1.0
    assert gamma(0, 0.125) == 0.0


@pytest.mark.parametrize("terms", [8, 9, -1])
def test_gamma_refuses_counts_at_which_the_analysis_breaks_down(terms):
    with pytest.raises(ValueError, match="wider accumulator"):
        gamma(terms, 0.125)


def test_hoeffding_limit_shrinks_with_the_root_of_the_count():
    assert hoeffding_limit(400, 0.5) == pytest.approx(hoeffding_limit(100, 0.5) / 2)
    # 2 exp(-n t**2 / 2) = p at the limit: the formula, solved the other way round.
    assert 2 * math.exp(-1000 * hoeffding_limit(1000, 1e-6) ** 2 / 2) == pytest.approx(1e-6)


@pytest.mark.parametrize(("count", "probability"), [(0, 0.1), (5, 0.0), (5, 1.0)])
def test_hoeffding_limit_refuses_what_has_no_meaning(count, probability):
    with pytest.raises(ValueError, match="count >= 1"):
        hoeffding_limit(count, probability)


def test_wider_bounds_are_given_only_where_the_hardware_needs_them():
    assert arithmetic_for("float16").accumulator is ACCUMULATORS["float32"]
    assert arithmetic_for("float16", tensor_cores=True).accumulator.unit_roundoff == 2.0**-23
    assert arithmetic_for("float32", tensor_cores=True).accumulator.unit_roundoff == 2.0**-24
    assert arithmetic_for("float64", tensor_cores=True).accumulator.unit_roundoff == 2.0**-53
    assert arithmetic_for("float32", tensor_float_32=True).tensor_float_32
    assert not arithmetic_for("float16", tensor_float_32=True).tensor_float_32
    assert not arithmetic_for("float16").flushes_subnormals


# --- products and sums ------------------------------------------------------------------


def _two_product(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """a * b as an unevaluated sum of two float64 (Veltkamp and Dekker, 1971)."""

    def split(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scaled = x * (2.0**27 + 1)
        high = scaled - (scaled - x)
        return high, x - high

    product = a * b
    (a1, a2), (b1, b2) = split(a), split(b)
    return product, a2 * b2 - (((product - a1 * b1) - a2 * b1) - a1 * b2)


def _exact_dot(a: np.ndarray, b: np.ndarray) -> float:
    """The dot product, correctly rounded: error-free products, summed by math.fsum."""
    return math.fsum(np.concatenate(_two_product(a, b)))


def _float32_dot(a: np.ndarray, b: np.ndarray) -> np.float32:
    total = np.float32(0)
    for x, y in zip(a, b, strict=True):
        total = np.float32(total + np.float32(x) * np.float32(y))
    return total


def test_the_float64_reference_agrees_with_error_free_summation():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((6, 500)), rng.standard_normal((500, 5))
    enclosure = contraction(a, b, arithmetic_for("float64"))
    exact = np.array([[_exact_dot(a[i], b[:, j]) for j in range(5)] for i in range(6)])
    # The reference may err by gamma_K of its own type, and fsum's result by one rounding.
    unit = float(np.finfo(np.longdouble).eps) / 2
    allowed = gamma(501, unit) * (np.abs(a) @ np.abs(b)) + 2.0**-53 * np.abs(exact)
    assert np.all(np.abs(enclosure.exact - exact) <= allowed)
    assert np.all(np.abs(a @ b - exact) <= enclosure.bound)


@pytest.mark.parametrize("terms", [1, 9, 288])
def test_a_sequential_float32_product_stays_within_the_bound(terms):
    rng = np.random.default_rng(terms)
    a = round_to(rng.standard_normal((4, terms)), "float32")
    b = round_to(rng.standard_normal((terms, 3)), "float32")
    computed = np.array([[_float32_dot(a[i], b[:, j]) for j in range(3)] for i in range(4)])
    found = discrepancy(computed, contraction(a, b, arithmetic_for("float32")))
    assert found.max_error_over_bound <= 1


def test_a_product_of_rounded_operands_is_inside_only_when_tf32_is_allowed():
    rng = np.random.default_rng(7)
    a = round_to(rng.standard_normal((8, 9)), "float32")
    b = round_to(rng.standard_normal((9, 8)), "float32")

    def to_tf32(x: np.ndarray) -> np.ndarray:
        gap = spacing(x, "float32") * 2.0**13  # 24 - 13 = 11 significand bits
        return np.rint(x / gap) * gap

    product = to_tf32(a) @ to_tf32(b)
    strict = contraction(a, b, arithmetic_for("float32"))
    allowed = contraction(a, b, arithmetic_for("float32", tensor_float_32=True))
    assert discrepancy(product, strict).max_error_over_bound > 1
    assert discrepancy(product, allowed).max_error_over_bound <= 1


def test_the_float16_bound_rejects_float16_accumulation_and_accepts_float32():
    rng = np.random.default_rng(3)
    a = np.abs(round_to(rng.standard_normal((1, 576)), "float16"))
    b = np.abs(round_to(rng.standard_normal((576, 4)), "float16"))
    enclosure = contraction(a, b, arithmetic_for("float16"))
    half = np.zeros((1, 4), np.float16)
    for k in range(576):
        half = half + (a[:, k : k + 1] * b[k]).astype(np.float16)
    assert discrepancy(half, enclosure).max_error_over_bound > 1
    single = (a.astype(np.float32) @ b.astype(np.float32)).astype(np.float16)
    assert discrepancy(single, enclosure).max_error_over_bound <= 1


def test_the_bound_rejects_a_truncated_result_and_accepts_a_rounded_one():
    rng = np.random.default_rng(4)
    a = round_to(rng.standard_normal((32, 16)), "bfloat16")
    b = round_to(rng.standard_normal((16, 32)), "bfloat16")
    enclosure = contraction(a, b, arithmetic_for("bfloat16"))
    product = (a @ b).astype(np.float32)
    truncated = (product.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    assert discrepancy(truncated, enclosure).max_error_over_bound > 1
    assert discrepancy(round_to(product, "bfloat16"), enclosure).max_error_over_bound <= 1


def test_a_bias_adds_one_rounding_to_the_bound():
    a, b, bias = np.ones((1, 4)), np.ones((4, 1)), np.ones(1)
    rules = arithmetic_for("float16")
    plain, biased = contraction(a, b, rules), contraction(a, b, rules, bias=bias)
    assert biased.exact == 5
    u = rules.unit_roundoff
    least = plain.bound + u * 5
    # One rounding of the sum, of size 5 plus what the product is off.
    assert least < biased.bound <= (least + u * plain.bound + 2.0**-24) * (1 + 2.0**-20)


def test_sums_and_means_enclose_numpy_along_every_set_of_axes():
    values = round_to(np.random.default_rng(5).standard_normal((4, 5, 6)), "float32")
    rules = arithmetic_for("float32")
    for axes in ((0,), (1,), (2,), (0, 1), (0, 2), (0, 1, 2)):
        for mean, reduce in ((False, np.sum), (True, np.mean)):
            enclosure = summation(values, axes, rules, mean=mean)
            computed = np.asarray(reduce(values.astype(np.float32), axis=axes))
            assert enclosure.exact.shape == computed.shape
            assert discrepancy(computed, enclosure).max_error_over_bound <= 1
            wrong = computed * np.float32(1 + 1e-3) + np.float32(1e-3)
            assert discrepancy(wrong, enclosure).max_error_over_bound > 1


# --- running error analysis -------------------------------------------------------------


def _formula(x, y, sqrt, exp, log):
    return exp(sqrt(x * x + y) / (x + 2.0) - y) + log(x + y) * x


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["float16", "float32", "float64"]))
def test_running_error_analysis_encloses_the_same_formula_in_numpy(seed, dtype):
    rng = np.random.default_rng(seed)
    x, y = (round_to(rng.uniform(0.5, 4, 20), dtype) for _ in range(2))
    rules = arithmetic_for(dtype)
    tracked = _formula(
        Tracked.of(x, rules), Tracked.of(y, rules), Tracked.sqrt, Tracked.exp, Tracked.log
    )
    kind = np.dtype(dtype).type
    computed = _formula(x.astype(kind), y.astype(kind), np.sqrt, np.exp, np.log)
    assert computed.dtype == dtype
    assert discrepancy(computed, tracked.enclosure).max_error_over_bound <= 1


def test_running_error_analysis_rejects_the_formula_in_the_next_narrower_dtype():
    rng = np.random.default_rng(0)
    x, y = (round_to(rng.uniform(0.5, 4, 200), "float16") for _ in range(2))
    for dtype, narrow in (("float32", np.float16), ("float64", np.float32)):
        rules = arithmetic_for(dtype)
        tracked = _formula(
            Tracked.of(x, rules), Tracked.of(y, rules), Tracked.sqrt, Tracked.exp, Tracked.log
        )
        computed = _formula(x.astype(narrow), y.astype(narrow), np.sqrt, np.exp, np.log)
        assert discrepancy(computed, tracked.enclosure).max_error_over_bound > 1


def test_running_error_analysis_refuses_results_that_may_not_exist():
    rules = arithmetic_for("float16")
    unsure = Tracked(np.array([0.5]), np.array([0.5]), rules)
    with pytest.raises(ValueError, match="divisor"):
        Tracked.of(1.0, rules) / unsure
    with pytest.raises(ValueError, match="log"):
        unsure.log()
    with pytest.raises(ValueError, match="exact base"):
        unsure.power(2)
    wider = dataclasses.replace(unsure, error=np.array([0.6]))
    with pytest.raises(ValueError, match="sqrt"):
        wider.sqrt()
    assert unsure.sqrt().exact == math.sqrt(0.5)


# --- comparison -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_exact_expectation_accepts_the_number_and_rejects_both_neighbours(dtype):
    fmt = FORMATS[dtype]
    for value in (1.0, 1.5, -2.0, 0.0, fmt.max_finite, 64.0):
        wanted = exactly(np.array([value]), dtype)
        assert discrepancy(np.array([value]), wanted).max_error_over_bound == 0
        gap = float(spacing(np.array([value]), dtype)[0])
        inward = gap / 2 if math.frexp(abs(value))[0] == 0.5 else gap
        for neighbour in (value - math.copysign(inward, value), value + math.copysign(gap, value)):
            if abs(neighbour) <= fmt.max_finite:
                assert discrepancy(np.array([neighbour]), wanted).max_error_over_bound >= 2


@pytest.mark.parametrize("wanted", [math.nan, math.inf, -math.inf, 1.0])
@pytest.mark.parametrize("got", [math.nan, math.inf, -math.inf, 1.0])
def test_non_finite_values_must_match_exactly(wanted, got):
    ratio = discrepancy(np.array([got]), exactly(np.array([wanted]), "float16"))
    same = wanted == got or (math.isnan(wanted) and math.isnan(got))
    assert ratio.max_error_over_bound == (0 if same else math.inf)


def test_a_comparison_names_the_worst_element_and_the_direction_of_the_errors():
    exact = np.array([[1.0, -2.0], [3.0, -4.0]])
    enclosure = Enclosure(exact, np.full((2, 2), 0.5))
    off = np.array([[0.0, -0.25], [0.0, -1.0]])
    found = discrepancy(exact + off, enclosure)
    assert found.max_error_over_bound == 2
    assert found.worst_index == (1, 1)
    assert (found.worst_computed, found.worst_exact) == (-5, -4)
    assert found.signed_mean_error == -0.625
    assert found.outward_mean_error == 0.625  # both results are too large in magnitude


def test_a_bound_of_zero_accepts_only_equality():
    enclosure = Enclosure(np.array([1.0]), np.array([0.0]))
    assert discrepancy(np.array([1.0]), enclosure).max_error_over_bound == 0
    assert discrepancy(np.array([1 + 1e-15]), enclosure).max_error_over_bound == math.inf


def test_shapes_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="shape"):
        Enclosure(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match="shape"):
        discrepancy(np.zeros(3), Enclosure(np.zeros(2), np.zeros(2)))
    with pytest.raises(ValueError, match="non-empty"):
        discrepancy(np.zeros(0), Enclosure(np.zeros(0), np.zeros(0)))


def test_an_arithmetic_knows_what_it_loses_to_underflow():
    keeps = Arithmetic(FORMATS["float16"], ACCUMULATORS["float32"])
    assert keeps.underflow == 2.0**-25
    assert dataclasses.replace(keeps, flushes_subnormals=True).underflow == 2.0**-14
