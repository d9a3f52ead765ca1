"""Comparing computed results with what is expected of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cnnprec.numerics.bounds import Enclosure, arithmetic_for, contraction, exactly
from cnnprec.numerics.discrepancy import discrepancy
from cnnprec.precision.formats import FORMATS, round_to, spacing
from tests.support.hoeffding import hoeffding_limit

DTYPES = tuple(FORMATS)


def test_hoeffding_limit_shrinks_with_the_root_of_the_count():
    assert hoeffding_limit(400, 0.5) == pytest.approx(hoeffding_limit(100, 0.5) / 2)
    # 2 exp(-n t**2 / 2) = p at the limit: the formula, solved the other way round.
    assert 2 * math.exp(-1000 * hoeffding_limit(1000, 1e-6) ** 2 / 2) == pytest.approx(1e-6)


@pytest.mark.parametrize(("count", "probability"), [(0, 0.1), (5, 0.0), (5, 1.0)])
def test_hoeffding_limit_refuses_what_has_no_meaning(count, probability):
    with pytest.raises(ValueError, match="count >= 1"):
        hoeffding_limit(count, probability)


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
        discrepancy(np.zeros(3), Enclosure(np.zeros(2), np.zeros(2)))
    with pytest.raises(ValueError, match="non-empty"):
        discrepancy(np.zeros(0), Enclosure(np.zeros(0), np.zeros(0)))


SEED = 0


def test_a_truncating_product_shows_in_the_mean_outward_error():
    rng = np.random.default_rng(SEED)
    a, b = (round_to(rng.standard_normal((64, 64)), "float16") for _ in range(2))
    rules = arithmetic_for("float16", tensor_cores=True)
    exact = a @ b
    gap = np.exp2(np.floor(np.log2(np.abs(exact))) - 10)
    truncated = np.trunc(exact / gap) * gap
    enclosure = contraction(a, b, rules)
    limit = hoeffding_limit(exact.size)
    assert discrepancy(truncated, enclosure).outward_mean_error < -limit
    assert abs(discrepancy(round_to(exact, "float16"), enclosure).outward_mean_error) < limit
