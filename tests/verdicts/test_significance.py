"""The sign-flip test and Holm's adjustment: by hand, as properties, and by simulation."""

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import special

from cnnprec.verdicts.statistics import EXACT_PAIRS, FLIPS, LEVEL, holm, sign_flip
from tests.support.simulations import assert_rate, rate_is_possible, statistics_of
from tests.support.times import close


def share_of_flips(differences: list[int]) -> float:
    """The definition: all assignments of signs, in whole numbers."""
    seen = sum(differences)
    sums = [
        sum(sign * value for sign, value in zip(signs, differences, strict=True))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return sum(value >= seen for value in sums) / len(sums)


class TestSignFlip:
    def test_equals_the_count_by_hand(self):
        # Subsets of {3, -1, 2} with a sum of at most zero: the empty one and {-1}.
        assert sign_flip([3, -1, 2]) == 2 / 8

    @given(st.lists(st.integers(-20, 20), min_size=1, max_size=8))
    @example([0])
    @example([1, 2, -3])
    def test_equals_brute_force(self, differences):
        assert sign_flip(differences) == share_of_flips(differences)

    def test_is_exact_at_the_largest_number_of_pairs_that_promises_it(self):
        differences = [(-1) ** i * (i + 3) + 4 for i in range(EXACT_PAIRS)]
        assert sign_flip(differences) == share_of_flips(differences)

    def test_sum_that_is_zero_but_for_rounding_counts_as_zero(self):
        assert 0.1 + 0.2 - 0.3 > 0
        assert sign_flip([0.1, 0.2, -0.3]) == sign_flip([1, 2, -3])

    @pytest.mark.parametrize("seed", range(4))
    def test_sampled_value_agrees_with_brute_force(self, seed):
        generator = random.Random(seed)  # noqa: S311
        differences = [generator.randint(-10, 15) for _ in range(EXACT_PAIRS + 1)]
        exact = share_of_flips(differences)
        hits = round(sign_flip(differences) * (1 + FLIPS)) - 1
        assert_rate(hits, FLIPS, exact, exact)

    @given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=EXACT_PAIRS + 3), st.randoms())
    def test_is_a_p_value_whatever_order_and_size(self, differences, shuffler):
        found = sign_flip(differences)
        shuffled = differences.copy()
        shuffler.shuffle(shuffled)
        assert 0 < found <= 1
        assert sign_flip(shuffled) == found

    def test_many_differences_above_zero_have_the_smallest_value_there_is(self):
        assert sign_flip([1.0] * 60) == 1 / (1 + FLIPS)

    def test_is_one_where_nothing_differs(self):
        assert sign_flip([0.0] * 3) == sign_flip([0.0] * 30) == 1

    def test_one_difference_is_as_often_below_zero(self):
        assert sign_flip([1.0]) == 0.5


P_VALUES = st.lists(st.floats(0, 1), max_size=10)


class TestHolm:
    def test_equals_the_hand_computation(self):
        # In order 4 * 0.005, 3 * 0.01, 2 * 0.03 and 1 * 0.04, which the one before lifts.
        assert holm([0.01, 0.04, 0.03, 0.005]) == close((0.03, 0.06, 0.06, 0.02))

    def test_of_none_is_none_and_of_one_is_that_one(self):
        assert holm([]) == ()
        assert holm([0.03]) == (0.03,)

    @given(P_VALUES)
    def test_only_raises_and_never_above_one(self, p_values):
        pairs = list(zip(p_values, holm(p_values), strict=True))
        assert all(raw <= adjusted <= 1 for raw, adjusted in pairs)

    @given(P_VALUES)
    def test_keeps_the_order_of_the_values(self, p_values):
        adjusted = holm(p_values)
        for (a, b), (c, d) in itertools.combinations(zip(p_values, adjusted, strict=True), 2):
            assert (b <= d) if a <= c else (b >= d)

    @given(P_VALUES, st.randoms())
    def test_follows_a_permutation(self, p_values, shuffler):
        order = list(range(len(p_values)))
        shuffler.shuffle(order)
        adjusted = holm(p_values)
        assert holm([p_values[i] for i in order]) == tuple(adjusted[i] for i in order)

    @given(P_VALUES)
    def test_never_exceeds_bonferroni(self, p_values):
        assert all(
            adjusted <= min(1, len(p_values) * raw)
            for raw, adjusted in zip(p_values, holm(p_values), strict=True)
            if raw == min(p_values)
        )


def p_values_of_metrics(trials: int, metrics: int, correlation: float) -> np.ndarray:
    """p values (trials, metrics) of new sessions like the five of their baseline.

    Any two metrics of a session have the same correlation. By the test above these are the p
    values of `predict`.
    """
    generator = np.random.default_rng(metrics)
    own = generator.normal(0, 0.09, (trials, metrics, 6))
    common = generator.normal(0, 0.09, (trials, 1, 6))
    logs = math.sqrt(correlation) * common + math.sqrt(1 - correlation) * own
    t = statistics_of(logs.reshape(-1, 6)).reshape(trials, metrics)
    return special.stdtr(4, -t)


@pytest.mark.parametrize("metrics", [4, 16])
@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_holm_keeps_the_family_wise_rate(metrics, correlation):
    trials = 4_000
    p_values = p_values_of_metrics(trials, metrics, correlation)
    alarms = sum(min(holm(row)) < LEVEL for row in p_values.tolist())
    # Of independent tests one is below level / k in 1 - (1 - level / k)**k of all trials;
    # correlation lowers that.
    independent = 1 - (1 - LEVEL / metrics) ** metrics
    assert_rate(alarms, trials, independent if correlation == 0 else 0, LEVEL)


@pytest.mark.parametrize("metrics", [4, 16])
def test_without_holm_the_family_wise_rate_is_too_high(metrics):
    # 1 - 0.95**4 = 19 % and 1 - 0.95**16 = 56 % of independent metrics.
    trials = 4_000
    alarms = int((p_values_of_metrics(trials, metrics, 0.0).min(axis=1) < LEVEL).sum())
    assert not rate_is_possible(alarms, trials, 0, LEVEL)
