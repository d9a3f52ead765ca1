"""A precision judged beside the others of its session: numbers by hand, error, power, guards."""

import dataclasses
import math

import numpy as np
import pytest

from cnnprec.verdicts.case import MEAN_TIME, Case
from cnnprec.verdicts.compare import compare
from cnnprec.verdicts.judge_growth import beside_others
from cnnprec.verdicts.regression import SLOPE
from cnnprec.verdicts.verdict import Metric, Verdict
from tests.support.saved import turned

NAMES = ("single", "double", "half", "mixed_half")


def session(logs, state=0.0):
    """A session of timed turns from the logarithms of its times."""
    some = zip(NAMES, logs, strict=False)
    return {n: r for name, log in some for n, r in turned(log, state, name).items()}


def cases(old, new):
    return [Case(n, tuple(s[n] for s in old), tuple(s[n] for s in new)) for n in new[0]]


def machine(rng, count, common=0.03, own=0.01):
    """Sessions of a machine that moves all precisions by something that no calibrator sees."""
    shared = rng.normal(0, common, (count, 1))
    return rng.normal(0, own, (count, len(NAMES))) + shared


def without_calibrators(sessions):
    return [
        {
            name: dataclasses.replace(r, turns=dataclasses.replace(r.turns, calibrators=()))
            for name, r in records.items()
        }
        for records in sessions
    ]


def test_the_number_is_the_median_of_the_others_less_what_the_calibrators_explain():
    old = [session([0.0, 1.0, 2.0], 0.0), session([0.2, 1.4, 2.0], 0.1)]
    new = [session([0.5, 1.4, 2.6], 0.3)]
    found = beside_others(cases(old, new))
    # Their means before are 0.1, 1.2 and 2.0, the state's 0.05. Of single's others the new ones
    # lie 0.2 and 0.6 above; the machine explains 0.8 of 0.25.
    (state,) = found[0][1]
    assert state == pytest.approx((0.3, 0.4 - SLOPE * 0.25))
    assert found[0][0][0] == pytest.approx((0.0, -0.1 + SLOPE * 0.05))
    (state,) = found[2][1]
    assert state == pytest.approx((0.3, 0.3 - SLOPE * 0.25))


def test_without_calibrators_the_others_alone_are_the_state():
    plain = without_calibrators([session([0.0, 1.0]), session([0.2, 1.4]), session([0.5, 1.4])])
    found = beside_others(cases(plain[:2], plain[2:]))
    assert found[0] == ([pytest.approx((-0.2,)), pytest.approx((0.2,))], [pytest.approx((0.2,))])


def test_one_precision_alone_pairs_and_sessions_that_lack_a_time_have_no_others():
    sessions = [session([0.0, 1.0])] * 3
    assert beside_others(cases(sessions, sessions)) is None
    assert beside_others(cases([session([0.0])], [session([0.1])])) is None
    torn = dataclasses.replace(sessions[0]["double"], turns=None)
    assert beside_others(cases([*sessions, {**sessions[0], "double": torn}], sessions[:1])) is None
    assert beside_others(cases(sessions, [{**sessions[0], "double": torn}])) is None
    uneven = cases(sessions, sessions[:1])
    uneven[1] = dataclasses.replace(uneven[1], old=uneven[1].old[:2])
    assert beside_others(uneven) is None


def rates(sessions, *, shift=(0.0, 0.0, 0.0, 0.0), trials=300, common=0.03):
    """How often each precision, and the time of all, FAILs with the eight sessions before it."""
    rng = np.random.default_rng(7)
    failed = np.zeros(len(NAMES) + 1)
    for _ in range(trials):
        *old, new = machine(rng, 9, common)
        found = compare([sessions(row) for row in old], sessions(new + shift))
        for place, name in enumerate((*NAMES, "")):
            judged = found.of(Metric.SPEED, name)
            # The mean of all turns is judged by itself; these turns are equal.
            failed[place] += judged.verdict is Verdict.FAIL and judged.quantity != MEAN_TIME.name
    return failed / trials


def slower(name, share):
    return [math.log1p(share) if other == name else 0.0 for other in NAMES]


def test_what_moves_all_precisions_hides_no_slowdown_of_one():
    """Noise of 3 % that all share would hide 10 %; beside the others 1.2 % are left."""
    assert rates(session, shift=slower("single", 0.10))[0] >= 0.6


def test_nothing_changed_is_no_failure():
    assert rates(session).max() <= 0.02  # 0.6 % of error each, at a tolerance of 3 %


def test_others_that_became_faster_make_no_unchanged_precision_fail_often():
    faster = [0.0 if name == "half" else -math.log1p(0.10) for name in NAMES]
    assert rates(session, shift=faster)[NAMES.index("half")] <= 0.08


def test_without_the_guard_they_would(monkeypatch):
    """The twin of the test above: the check can fail."""
    monkeypatch.setattr("cnnprec.verdicts.judge_growth.ALONE", 1.0)
    faster = [0.0 if name == "half" else -math.log1p(0.10) for name in NAMES]
    assert rates(session, shift=faster)[NAMES.index("half")] > 0.1


def test_what_slows_all_is_found_once_and_by_the_time_of_all():
    found = rates(session, shift=[math.log1p(0.20)] * len(NAMES), common=0.02)
    assert found[-1] >= 0.8
    assert found[:-1].max() <= 0.1


def test_a_slower_machine_that_no_calibrator_sees_passes_no_precision():
    rng = np.random.default_rng(3)
    old = [session(row) for row in machine(rng, 8)]
    found = compare(old, session(np.full(len(NAMES), 0.12)))
    speeds = {found.of(Metric.SPEED, name).verdict for name in NAMES}
    assert Verdict.PASS not in speeds


def test_a_slowdown_is_never_judged_better_than_a_smaller_one():
    order = [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL]
    rng = np.random.default_rng(5)
    for _ in range(20):
        *old, new = machine(rng, 9)
        before = [session(row) for row in old]
        ranks = [
            order.index(
                compare(before, session(new + slower("single", s))).of("speed", "single").verdict
            )
            for s in (0, 0.05, 0.1, 0.15, 0.2, 0.4)
        ]
        assert ranks == sorted(ranks)


def test_the_order_of_precisions_and_of_sessions_does_not_matter():
    rng = np.random.default_rng(2)
    *old, new = map(session, machine(rng, 9))
    one = compare(old, new)
    other = compare([dict(reversed(s.items())) for s in old[::-1]], dict(reversed(new.items())))
    for name in NAMES:
        a, b = (found.of("speed", name).estimate for found in (one, other))
        assert a.p_value == pytest.approx(b.p_value, rel=1e-9)
        assert (a.low, a.high) == pytest.approx((b.low, b.high), rel=1e-9)
