"""The mean of paired differences and its interval: by hand, as properties, and by simulation."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cnnprec.verdicts.estimate import Change, mean_change
from cnnprec.verdicts.statistics import LEVEL
from tests.support.simulations import assert_rate
from tests.support.times import close, quantile_2


def equivalent(found: Change, margin: float) -> bool:
    """Whether the interval lies strictly within plus or minus the margin."""
    return -margin < found.low and found.high < margin


class TestMeanChange:
    def test_equals_the_hand_computation(self):
        # Mean 0.02, s = 0.01, t[0.95] = 2.92 of 2 degrees: from 0.0031 to 0.0369.
        reach = quantile_2(0.95) * 0.01 / math.sqrt(3)
        found = mean_change([0.01, 0.03, 0.02])
        assert found == Change(close(0.02), close(0.02 - reach), close(0.02 + reach), 3)
        assert equivalent(found, 0.04)
        assert not equivalent(found, 0.03)

    @given(st.lists(st.floats(-1, 1), min_size=2, max_size=10), st.floats(0.001, 1))
    def test_sign_and_order_do_not_matter(self, differences, margin):
        one = mean_change(differences)
        other = mean_change([-value for value in reversed(differences)])
        # In units of 2**-53: a value less the smallest, up to 2, is good to 1, the mean to 3 and
        # a deviation from it to 5; their root mean square adds 3 of its own. Both sides make
        # 16, of which t takes up to 6.4.
        rounding = 16 * 2.0**-53 * (1 + 6.4)
        assert abs(one.mean + other.mean) <= rounding
        assert abs(one.low + other.high) <= rounding
        assume(min(abs(margin - one.high), abs(margin + one.low)) > rounding)
        assert equivalent(one, margin) == equivalent(other, margin)

    @pytest.mark.parametrize(("value", "expected"), [(0.1, True), (-0.1, True), (0.2, False)])
    def test_equal_differences_are_judged_by_themselves(self, value, expected):
        found = mean_change([value] * 3)
        assert found == Change(value, value, value, 3)
        assert equivalent(found, 0.2) is expected

    def test_too_few_scattered_pairs_are_not_equivalent(self):
        # Mean 0 but 6.3 * 0.1 of reach.
        assert not equivalent(mean_change([-0.1, 0.1]), 0.5)


def test_equivalence_is_shown_at_the_margin_with_the_level_and_inside_it_often():
    # At the margin the far test all but always rejects, the near one in 5 %. At zero the
    # margin is 5 standard errors off, so the interval of t[0.95] = 1.83 standard errors of 10
    # pairs fits in unless the mean is 3 off: more than 90 %.
    trials = 4_000
    noise = np.random.default_rng(6).normal(0, 0.01, (trials, 10))
    margin = 5 * 0.01 / math.sqrt(10)
    for shift, low, high in ((margin, 0, LEVEL), (-margin, 0, LEVEL), (0.0, 0.9, 1)):
        declared = sum(equivalent(mean_change(row), margin) for row in (noise + shift).tolist())
        assert_rate(declared, trials, low, high)


def test_a_change_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Change(0, 0, 0, 2).count = 3
