"""The line through sessions: numbers by hand, limits, and coverage under simulated machines."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from cnnprec.verdicts.estimate import predict
from cnnprec.verdicts.regression import SLOPE, WEIGHT, fit, moderate
from cnnprec.verdicts.statistics import LEVEL

LOGS = st.lists(st.floats(-3, 3), min_size=3, max_size=12)


def test_line_equals_the_hand_computation():
    # x about its mean: -1, 0, 1; y about its mean: -2, 0, 2. The prior pulls a slope of 2.
    line = fit([1.0, 3.0, 5.0], [(10.0,), (11.0,), (12.0,)])
    spread = 2 + WEIGHT
    slope = (4 + WEIGHT * SLOPE) / spread
    assert line.slopes == pytest.approx((slope,))
    assert (line.level, line.state, line.count, line.freedom) == (3.0, (11.0,), 3, 2)
    assert line.at((13.0,)) == pytest.approx(3 + 2 * slope)
    assert line.leverage((13.0,)) == pytest.approx(4 / spread)
    left = 2 * (2 - slope) ** 2 + WEIGHT * (slope - SLOPE) ** 2
    assert line.variance == pytest.approx(left / 2)


def test_two_numbers_of_a_state_have_a_slope_each():
    # The second moves the time by 3 of its own and 5 of the first, without noise.
    states = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]
    line = fit([5 * a + 3 * b for a, b in states], states)
    # About their means both have a sum of squares of 1 and no sum of products.
    assert line.slopes == pytest.approx([(x + WEIGHT * SLOPE) / (1 + WEIGHT) for x in (5, 3)])
    assert line.leverage((1.5, 0.5)) == pytest.approx(1 / (1 + WEIGHT))


def test_sessions_that_met_one_state_leave_the_slope_to_the_prior():
    line = fit([1.0, 1.1, 0.9, 1.0], [(5.0,)] * 4)
    assert line.slopes == pytest.approx((SLOPE,))
    assert line.leverage((5.3,)) == pytest.approx(0.3**2 / WEIGHT)


@given(LOGS, st.randoms())
def test_order_of_the_sessions_does_not_matter(logs, shuffler):
    states = [(value / 2, math.sin(value)) for value in logs]
    order = list(range(len(logs)))
    shuffler.shuffle(order)
    a, b = fit(logs, states), fit([logs[i] for i in order], [states[i] for i in order])
    assert a.slopes == pytest.approx(b.slopes, abs=1e-9)
    assert a.variance * a.freedom == pytest.approx(b.variance * b.freedom, abs=1e-9)


def test_a_state_that_the_baseline_never_met_widens_the_interval_by_itself():
    rng = np.random.default_rng(0)
    states = list(rng.normal(0, 0.02, 8))
    logs = [
        0.8 * state + noise for state, noise in zip(states, rng.normal(0, 0.02, 8), strict=True)
    ]
    line = fit(logs, [(state,) for state in states])

    def reach(state):
        found = predict(line, line.at((state,)), (state,), tolerance=0.0)
        return math.log(found.high / found.ratio)

    assert reach(0.0) < reach(0.1) < reach(0.3)
    assert reach(0.3) > 3 * reach(0.0)


def walk(rng, count):
    return np.cumsum(rng.normal(0, 0.03, count))


def bursts(rng, count):
    return np.where(rng.random(count) < 0.2, 0.15, 0.0) + rng.normal(0, 0.02, count)


def two_speeds(rng, count):
    return np.where(rng.random(count) < 0.5, 0.2, 0.0)


def still(rng, count):
    return np.zeros(count)


@pytest.mark.parametrize("machine", [walk, bursts, two_speeds, still])
@pytest.mark.parametrize("exposure", [0.3, 0.8, 1.3])
def test_coverage_under_simulated_machines(machine, exposure):
    """Eight sessions and a ninth: the bound of 5 % is exceeded in about 5 %.

    The calibrators meet the machine's state with 1 % of noise of their own; a precision meets it
    with an exposure of its own, whatever the prior says. Of 2,000 trials at 5 %, chance alone
    gives up to 6.3 % in 99.5 % of all cases; noise in the calibrators and a prior that is off cost
    more, and the limit of 8 % says how much more is accepted.
    """
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(2000):
        state = machine(rng, 9)
        measured = state + rng.normal(0, 0.01, 9)
        logs = exposure * state + rng.normal(0, 0.025, 9)
        line = fit(list(logs[:8]), [(state,) for state in measured[:8]])
        found = predict(line, logs[8], (measured[8],), tolerance=0.0)
        alarms += found.p_value < LEVEL
    assert alarms / 2000 <= 0.08


def test_without_the_calibrators_a_walking_machine_alarms_more_often():
    """The twin of the test above: the check can fail."""
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(2000):
        state = walk(rng, 30)
        logs = state + rng.normal(0, 0.025, 30)
        line = fit(list(logs[:8]), None)
        found = predict(line, logs[29], None, tolerance=0.0)
        alarms += found.p_value < LEVEL
    assert alarms / 2000 > 0.15


# Variances that borrow from each other.


def test_few_variances_are_left_alone():
    assert moderate([1.0, 4.0], 7) == ((1.0, 4.0), 7.0)


def test_equal_variances_stay_and_gain_degrees_of_freedom():
    found, freedom = moderate([2.0] * 8, 7)
    assert found == pytest.approx([2.0] * 8, rel=0.08)
    assert freedom == 21


def test_variances_are_drawn_towards_each_other_and_keep_their_order():
    given = [1.0, 1.5, 2.0, 3.0, 0.5]
    found, freedom = moderate(given, 7)
    assert sorted(range(5), key=lambda i: found[i]) == sorted(range(5), key=lambda i: given[i])
    assert max(found) / min(found) < max(given) / min(given)
    assert 7 < freedom <= 21


def test_variances_that_differ_widely_borrow_little():
    _, close = moderate([1.0, 1.1, 0.9, 1.2], 20)
    found, wide = moderate([1e-4, 1.0, 1e4, 10.0], 20)
    assert wide < close
    assert all(a < 2 * b and b < 2 * a for a, b in zip(found, [1e-4, 1.0, 1e4, 10.0], strict=True))


def test_scale_does_not_matter():
    small, freedom = moderate([1.0, 2.0, 3.0], 5)
    large, same = moderate([100.0, 200.0, 300.0], 5)
    assert large == pytest.approx([100 * value for value in small])
    assert same == pytest.approx(freedom)


@pytest.mark.parametrize("shared", [0.0, 0.5])
def test_moderated_t_keeps_its_level(shared):
    """Eight precisions of one true variance: about 5 % are beyond the 95 % bound.

    Correlated residuals (half of the variance common to all) keep it too, which is what the limit
    of the borrowed degrees of freedom is for. 16,000 values give a standard error below 0.6 %
    even where eight of them are one.
    """
    rng = np.random.default_rng(2)
    beyond = total = 0
    for _ in range(2000):
        common = rng.normal(0, np.sqrt(shared), 9)
        values = common + rng.normal(0, np.sqrt(1 - shared), (8, 9))
        variances, freedom = moderate(list(values[:, :8].var(axis=1, ddof=1)), 7)
        t = (values[:, 8] - values[:, :8].mean(axis=1)) / np.sqrt(np.array(variances) * (1 + 1 / 8))
        beyond += int(np.sum(t > special.stdtrit(freedom, 0.95)))
        total += 8
    assert beyond / total == pytest.approx(0.05, abs=0.01)
