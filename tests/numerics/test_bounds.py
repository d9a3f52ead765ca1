"""The derived bounds hold for real rounding, and reject what is just outside."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cnnprec.numerics.bounds import ACCUMULATORS, arithmetic_for, contraction, gamma, summation
from cnnprec.numerics.discrepancy import discrepancy
from cnnprec.precision.formats import round_to, spacing


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
    u = rules.format.unit_roundoff
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


def test_gamma_is_n_u_over_1_minus_n_u():
    assert gamma(4, 0.125) == 1.0
    assert gamma(0, 0.125) == 0.0


@pytest.mark.parametrize("terms", [8, 9, -1])
def test_gamma_refuses_counts_at_which_the_analysis_breaks_down(terms):
    with pytest.raises(ValueError, match="wider accumulator"):
        gamma(terms, 0.125)


def test_wider_bounds_are_given_only_where_the_hardware_needs_them():
    assert arithmetic_for("float16").accumulator == ACCUMULATORS["float32"]
    assert arithmetic_for("float16", tensor_cores=True).accumulator == 2.0**-23
    assert arithmetic_for("float32", tensor_cores=True).accumulator == 2.0**-24
    assert arithmetic_for("float64", tensor_cores=True).accumulator == 2.0**-53
    assert arithmetic_for("float32", tensor_float_32=True).tensor_float_32
    assert not arithmetic_for("float16", tensor_float_32=True).tensor_float_32
