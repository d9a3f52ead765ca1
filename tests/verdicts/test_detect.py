"""What a comparison with a baseline can find, told by the baseline alone."""

import math

import numpy as np
import pytest

from cnnprec.verdicts.compare import compare
from cnnprec.verdicts.detect import reach
from cnnprec.verdicts.limits import LimitTable
from cnnprec.verdicts.verdict import Limits, Metric
from tests.support.saved import turned

NAMES = ("single", "half", "double")


def baseline(count, noise=0.02, spread=0.05, names=NAMES, seed=1, state=0.0):
    """Sessions on a machine whose state varies; the last precision is twice as noisy."""
    random = np.random.default_rng(seed)
    sessions = []
    for _ in range(count):
        now = state + random.normal(0, spread)
        logs = {
            name: 0.8 * now + random.normal(0, noise * (2 if name == names[-1] else 1))
            for name in names
        }
        sessions.append(
            {n: r for name, log in logs.items() for n, r in turned(log, now, name).items()}
        )
    return sessions


def test_it_is_what_the_comparison_says_of_a_session_in_the_mean_state():
    sessions = baseline(8)
    found = reach(sessions, LimitTable(), 0.1)
    states = [math.log(s["single"].turns.calibrators[0][1]) for s in sessions]
    mean = float(np.mean(states))
    now = {n: r for name in NAMES for n, r in turned(0.8 * mean, mean, name).items()}
    said = {
        name: compare(sessions, now).of(Metric.SPEED, name).estimate.detectable for name in NAMES
    }
    # How slow the others were is a median, so no session meets its mean exactly.
    assert found.effect == pytest.approx(max(said.values()), rel=1e-3)
    assert found.precision == max(said, key=said.__getitem__)
    assert found.count == 8


def test_the_order_of_the_sessions_does_not_matter():
    sessions = baseline(9)
    assert reach(sessions, LimitTable(), 0.1).effect == pytest.approx(
        reach(sessions[::-1], LimitTable(), 0.1).effect
    )


def test_the_level_of_the_machine_does_not_matter_but_its_noise_does():
    quiet, elsewhere, noisy = (
        reach(baseline(8, **change), LimitTable(), 0.1).effect
        for change in ({}, {"state": 0.5}, {"noise": 0.04})
    )
    assert elsewhere == pytest.approx(quiet)
    assert noisy > 1.5 * quiet


def test_what_can_be_found_is_not_missing_and_less_of_it_is():
    found = reach(baseline(12, noise=0.01), LimitTable(), 0.3)
    assert (found.missing, found.effect < 0.3) == (0, True)
    again = reach(baseline(12, noise=0.01), LimitTable(), found.effect * 0.97)
    assert again.missing > 0
    assert again.effect == found.effect


def test_the_number_missing_is_about_right():
    """With so many more sessions of the same noise about half of the baselines suffice."""
    enough = []
    for seed in range(30):
        few = reach(baseline(6, seed=seed), LimitTable(), 0.2)
        more = reach(baseline(6 + (few.missing or 0), seed=seed), LimitTable(), 0.2)
        enough.append(more.effect <= 0.2 * 1.25)
    assert np.mean(enough) >= 0.5


def test_noise_that_no_number_of_sessions_overcomes_is_said():
    assert reach(baseline(8, noise=0.2), LimitTable(), 0.05).missing is None


@pytest.mark.parametrize(("count", "missing"), [(0, 5), (1, 4), (4, 1)])
def test_few_sessions_find_nothing_and_miss_those_to_five(count, missing):
    found = reach(baseline(count), LimitTable(), 0.1)
    assert (found.effect, found.precision, found.missing) == (math.inf, "", missing)


def test_sessions_without_calibrators_are_judged_by_their_times_alone():
    with_states = baseline(8, noise=0.01, names=("single",))
    unlike = [
        {
            n: r
            for name in s
            for n, r in turned(math.log(s[name].turns.seconds[0]), i, name, numpy=f"2.{i}").items()
        }
        for i, s in enumerate(with_states)
    ]
    assert (
        reach(unlike, LimitTable(), 0.1).effect > 1.5 * reach(with_states, LimitTable(), 0.1).effect
    )


def test_a_larger_tolerance_moves_what_is_found():
    wide = LimitTable(Limits(0.06, 0.2))
    sessions = baseline(8)
    assert reach(sessions, wide, 0.1).effect > reach(sessions, LimitTable(), 0.1).effect + 0.025


@pytest.mark.parametrize("asked", [0.0, 0.03, 1.01, 3.0, math.nan])
def test_what_cannot_be_asked_is_refused_before_anything(asked):
    with pytest.raises(ValueError, match=r"--detect .* above the tolerance, 0.03, and up to 1"):
        reach([], LimitTable(), asked)


def test_what_can_be_asked_is_accepted():
    assert reach([], LimitTable(), 0.031).asked == 0.031
    assert reach([], LimitTable(), 1.0).asked == 1.0
