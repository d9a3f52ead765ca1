"""The statistics of times: by hand and as properties."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnprec.verdicts.statistics import fastest_third, geometric_mean, standard_error
from tests.support.times import FACTORS, MOVED, TIMES, close, exps


class TestGeometricMean:
    def test_of_four_values_equals_the_one_worked_out_by_hand(self):
        assert geometric_mean([4, 1, 9, 2]) == close(math.sqrt(math.sqrt(72)))

    def test_of_one_value_is_that_value(self):
        assert geometric_mean([0.1]) == 0.1

    @given(st.lists(TIMES, min_size=1), st.randoms())
    def test_lies_in_the_range_whatever_the_order(self, values, shuffler):
        found = geometric_mean(values)
        shuffled = values.copy()
        shuffler.shuffle(shuffled)
        assert min(values) <= found <= max(values)
        assert geometric_mean(shuffled) == found

    @given(st.lists(TIMES, min_size=1), st.integers(-30, 30))
    def test_follows_the_unit(self, values, power):
        scaled = [math.ldexp(value, power) for value in values]
        # Each logarithm rounds once, and so do their sum, the mean and the exponential:
        # 4 units in the last place of a log below 64, on each side.
        expected = pytest.approx(math.ldexp(geometric_mean(values), power), rel=8 * 2.0**-47)
        assert geometric_mean(scaled) == expected

    def test_does_not_overflow(self):
        assert geometric_mean([1.7e308, 1.7e308, 1.7e308]) == 1.7e308


class TestStandardError:
    def test_equals_the_hand_computation(self):
        # Logs 0, 0 and 0.3: mean 0.1, s**2 = (0.01 + 0.01 + 0.04) / 2, over 3 rounds.
        assert standard_error(exps(0, 0, 0.3)) == close(math.sqrt(0.03 / 3))

    def test_of_one_round_or_of_equal_rounds_is_zero(self):
        assert standard_error([0.1]) == 0
        assert standard_error([0.1, 0.1, 0.1]) == 0

    @given(st.lists(TIMES, min_size=2), FACTORS)
    def test_unit_does_not_matter(self, values, factor):
        one, other = standard_error(values), standard_error([x * factor for x in values])
        # A deviation moves by less than MOVED times sqrt(n / (n - 1)), which is at most
        # sqrt(2), then is divided by sqrt(n), at least sqrt(2).
        assert abs(one - other) <= MOVED

    def test_of_the_fastest_half_equals_the_hand_computation(self):
        # Logarithms 0, 1 and then 1, 1 in place of the slower half: sd 0.5, over 0.5 * sqrt(4).
        assert standard_error([1.0, math.e], 0.5) == pytest.approx(0.5)

    def test_of_the_fastest_third_is_the_spread_of_its_mean(self):
        random = np.random.default_rng(1)
        trials = np.exp(random.normal(0, 0.2, (2000, 60))).tolist()
        thirds = [fastest_third(trial) for trial in trials]
        spread = np.std([math.log(geometric_mean(third)) for third in thirds])
        told = np.mean([standard_error(third, 1 / 3) for third in thirds])
        # 2,000 trials tell the spread to 1.6 %; Wilcox' error is right for many values alone.
        assert told == pytest.approx(spread, rel=0.08)


class TestFastestThird:
    def test_is_rounded_up(self):
        assert fastest_third([3.0, 1.0, 4.0, 2.0]) == [1.0, 2.0]

    def test_of_one_value_is_that_value(self):
        assert fastest_third([3.0]) == [3.0]
