"""One time beside those of its peers: false alarms, power, and peers that may be anything."""

import math

import numpy as np
import pytest

from cnnprec.verdicts.fleet import beside_peers
from cnnprec.verdicts.statistics import LEVEL


def rejected(logs, level=LEVEL, tolerance=0.0):
    found = beside_peers(logs, tolerance=tolerance, strict=level)
    return [place for place, estimate in enumerate(found) if estimate.p_value <= level]


@pytest.mark.parametrize("count", [5, 10, 20])
def test_of_equal_peers_any_is_named_as_often_as_the_level_says(count):
    generator = np.random.default_rng(7)
    trials = 400
    alarms = sum(bool(rejected(generator.normal(0, 0.02, count).tolist())) for _ in range(trials))
    # Three standard errors of a share of 5 % in 400 trials.
    assert abs(alarms / trials - LEVEL) <= 3 * math.sqrt(LEVEL * (1 - LEVEL) / trials)


@pytest.mark.parametrize("bad", [1, 2, 5])
def test_up_to_a_quarter_of_the_peers_may_be_slow_and_only_they_are_named(bad):
    logs = np.random.default_rng(8).normal(0, 0.01, 20)
    logs[:bad] += math.log(1.15)
    assert rejected(logs.tolist(), tolerance=0.03) == list(range(bad))


def test_a_fast_peer_is_not_named_and_hides_no_slow_one():
    logs = np.random.default_rng(9).normal(0, 0.01, 20)
    logs[0] -= math.log(1.5)
    logs[1] += math.log(1.15)
    assert rejected(logs.tolist(), tolerance=0.03) == [1]


def test_what_is_within_the_tolerance_is_accepted_and_what_is_beyond_is_not():
    same = [0.0] * 9
    assert rejected([*same, math.log(1.03)], tolerance=0.03) == []
    assert rejected([*same, math.log(1.031)], tolerance=0.03) == [9]


def test_the_detectable_slowdown_is_found_in_four_of_five_cases():
    generator = np.random.default_rng(10)
    trials, hits = 400, 0
    for _ in range(trials):
        logs = generator.normal(0, 0.01, 30)
        stated = beside_peers(logs.tolist(), tolerance=0.03, strict=LEVEL)[0].detectable
        logs[0] += math.log1p(stated)
        hits += 0 in rejected(logs.tolist(), tolerance=0.03)
    # Three standard errors, and 0.03 because a slow one widens what the others are thought to do.
    assert abs(hits / trials - 0.8) <= 3 * math.sqrt(0.8 * 0.2 / trials) + 0.03


def test_ratio_and_bounds_are_of_the_peers_near_the_median():
    found = beside_peers([0.0, 0.01, -0.01, 0.0, 0.02, math.log(2)], tolerance=0, strict=LEVEL)
    assert found[-1].ratio == pytest.approx(2, rel=0.02)
    assert all(e.low < e.ratio < e.high for e in found)
    assert {e.count for e in found} == {6}


@pytest.mark.parametrize(("precisions", "share"), [(1, 0.95), (8, 0.6)])
def test_how_often_one_of_twenty_that_is_slow_by_15_percent_is_found(precisions, share):
    """With a noise of 2 %; the figures of docs/driver-validation.md."""
    generator, trials, hits = np.random.default_rng(1), 400, 0
    for _ in range(trials):
        logs = generator.normal(0, 0.02, 20)
        logs[0] += math.log(1.15)
        hits += 0 in rejected(logs.tolist(), level=0.7 * LEVEL / precisions, tolerance=0.03)
    assert abs(hits / trials - share) <= 3 * math.sqrt(share * (1 - share) / trials)
