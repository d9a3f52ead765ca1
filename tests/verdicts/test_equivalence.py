"""The test of equivalence: by hand, as properties, and by simulation."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cnnprec.verdicts.equivalence import Equivalence, equivalence
from cnnprec.verdicts.statistics import LEVEL
from tests.support.simulations import assert_rate
from tests.support.times import close, quantile_2


class TestEquivalence:
    def test_equals_the_hand_computation(self):
        # Mean 0.02, s = 0.01, t[0.95] = 2.92 of 2 degrees: from 0.0031 to 0.0369.
        reach = quantile_2(0.95) * 0.01 / math.sqrt(3)
        found = equivalence([0.01, 0.03, 0.02], 0.04)
        assert found == Equivalence(close(0.02), close(0.02 - reach), close(0.02 + reach), True, 3)
        assert not equivalence([0.01, 0.03, 0.02], 0.03).equivalent

    @given(st.lists(st.floats(-1, 1), min_size=2, max_size=10), st.floats(0.001, 1))
    def test_sign_and_order_do_not_matter(self, differences, margin):
        one = equivalence(differences, margin)
        other = equivalence([-value for value in reversed(differences)], margin)
        # In units of 2**-53: a value less the smallest, up to 2, is good to 1, the mean to 3 and
        # a deviation from it to 5; their root mean square adds 3 of its own. Both sides make
        # 16, of which t takes up to 6.4.
        rounding = 16 * 2.0**-53 * (1 + 6.4)
        assert abs(one.mean + other.mean) <= rounding
        assert abs(one.low + other.high) <= rounding
        assume(min(abs(margin - one.high), abs(margin + one.low)) > rounding)
        assert one.equivalent == other.equivalent

    @given(st.lists(st.floats(-1, 1), min_size=2, max_size=10), st.floats(0.001, 0.5))
    def test_wider_margin_keeps_the_verdict(self, differences, margin):
        narrow = equivalence(differences, margin)
        assert equivalence(differences, 2 * margin).equivalent >= narrow.equivalent

    @pytest.mark.parametrize(("value", "expected"), [(0.1, True), (-0.1, True), (0.2, False)])
    def test_equal_differences_are_judged_by_themselves(self, value, expected):
        found = equivalence([value] * 3, 0.2)
        assert found == Equivalence(value, value, value, expected, 3)

    def test_too_few_scattered_pairs_are_not_equivalent(self):
        # Mean 0 but 6.3 * 0.1 of reach.
        assert not equivalence([-0.1, 0.1], 0.5).equivalent


def test_equivalence_is_declared_at_the_margin_with_the_level_and_inside_it_often():
    # At the margin the far test all but always rejects, the near one in 5 %. At zero the
    # margin is 5 standard errors off, so the interval of t[0.95] = 1.83 standard errors of 10
    # pairs fits in unless the mean is 3 off: more than 90 %.
    trials = 4_000
    noise = np.random.default_rng(6).normal(0, 0.01, (trials, 10))
    margin = 5 * 0.01 / math.sqrt(10)
    for shift, low, high in ((margin, 0, LEVEL), (-margin, 0, LEVEL), (0.0, 0.9, 1)):
        declared = sum(equivalence(row, margin).equivalent for row in (noise + shift).tolist())
        assert_rate(declared, trials, low, high)


def test_an_equivalence_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Equivalence(0, 0, 0, True, 2).count = 3
