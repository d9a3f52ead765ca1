"""Speed judged by timed turns, given the calibrators."""

import dataclasses
import math

import numpy as np
import pytest

from cnnprec.machine.gpu_state import GpuState
from cnnprec.records.record import Record, Turns
from cnnprec.reports.verdicts import verdicts
from cnnprec.verdicts.compare import compare, compare_pairs, due_judgements
from cnnprec.verdicts.verdict import Metric, Verdict
from tests.support.records import a_round, record

NAMES = ("single", "double", "half", "mixed_half")
EXPOSURE = dict(zip(NAMES, (1.2, 0.9, 0.4, 0.5), strict=True))


def measured(name: str, seconds: float, slowness: float, change: dict) -> Record:
    """A record whose turns took this long, in a process of these precisions."""
    base = record(name, tuple(a_round(1.0, seed=12 + i) for i in range(2)))
    turns = Turns(
        steps=5,
        seconds=tuple(5 * seconds * factor for factor in (0.99, 1.0, 1.01) * 4),
        calibrators=(("copy", 0.01 * slowness), ("loop", 0.02 * slowness)),
        warm_up=4,
        steady=True,
    )
    turns = dataclasses.replace(turns, **{k: v for k, v in change.items() if k == "calibrators"})
    config = dataclasses.replace(base.config, turns=12)
    environment = dataclasses.replace(
        base.environment, **{k: v for k, v in change.items() if k != "calibrators"}
    )
    return dataclasses.replace(base, turns=turns, config=config, environment=environment)


def session(
    rng, state: float = 0.0, slower: dict[str, float] | None = None, noise: float = 0.01, **change
) -> dict[str, Record]:
    """A session on a machine in this state; `slower` multiplies the time of a precision."""
    return {
        name: measured(
            name,
            0.01
            * math.exp(EXPOSURE[name] * state + rng.normal(0, noise))
            * (slower or {}).get(name, 1.0),
            math.exp(state + rng.normal(0, noise / 2)),
            change,
        )
        for name in NAMES
    }


def baseline(rng, spread: float = 0.05) -> list[dict[str, Record]]:
    return [session(rng, rng.normal(0, spread)) for _ in range(8)]


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_equal_session_passes_and_judges_each_precision_and_all_once(rng):
    found = compare(baseline(rng), session(rng))
    assert [(j.metric, j.precision) for j in found.judgements] == due_judgements(NAMES, "cpu")
    assert {j.verdict for j in found.judgements} == {Verdict.PASS}
    assert found.of(Metric.SPEED, "half").quantity == "time per step"


def test_a_slower_machine_is_no_slower_precision_and_is_said(rng):
    found = compare(baseline(rng), session(rng, state=0.10))
    assert {j.verdict for j in found.judgements if j.metric is Metric.SPEED} <= {
        Verdict.PASS,
        Verdict.INCONCLUSIVE,
    }
    assert found.machine == pytest.approx(0.10, abs=0.05)


def test_one_slower_precision_fails_alone(rng):
    found = compare(baseline(rng), session(rng, slower={"half": 1.15}))
    speeds = {j.precision: j.verdict for j in found.judgements if j.metric is Metric.SPEED}
    assert speeds["half"] is Verdict.FAIL
    assert all(speeds[name] is Verdict.PASS for name in ("single", "double", "mixed_half"))


def test_what_slows_all_precisions_is_found_together(rng):
    found = compare(baseline(rng), session(rng, slower=dict.fromkeys(NAMES, 1.15)))
    assert found.of(Metric.SPEED, "").verdict is Verdict.FAIL
    assert "time per step of all" in found.of(Metric.SPEED, "").reason


def test_a_state_far_from_the_baselines_is_inconclusive_rather_than_a_failure(rng):
    found = compare(baseline(rng, spread=0.005), session(rng, state=0.5))
    speeds = {j.verdict for j in found.judgements if j.metric is Metric.SPEED}
    assert Verdict.FAIL not in speeds
    assert Verdict.INCONCLUSIVE in speeds


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"numpy": "9.9"}, "they rest on numpy, which changed (2.4.6, 9.9)"),
        ({"python": "3.99"}, "they rest on python, which changed (3.11.7, 3.99)"),
        ({"calibrators": (("copy", 0.01),)}, "not all sessions have the same calibrators"),
    ],
)
def test_calibrators_of_other_software_or_kind_are_not_used_and_it_is_said(rng, change, why):
    found = compare(baseline(rng), session(rng, **change))
    assert (found.machine, found.why_no_machine) == (None, why)
    assert f"  the calibrators were not used: {why}" in verdicts(found)
    wide = found.of(Metric.SPEED, "single").estimate
    usual = compare(baseline(rng), session(rng))
    assert usual.why_no_machine == ""
    assert wide.detectable > usual.of(Metric.SPEED, "single").estimate.detectable


def test_throttled_or_unfinished_precision_hinders_the_verdict_on_all(rng):
    sessions = baseline(rng)
    slow = session(rng, slower=dict.fromkeys(NAMES, 2.0))
    assert compare(sessions, slow).of(Metric.SPEED, "").verdict is Verdict.FAIL
    state = GpuState(("thermal",), 0, (), 90, 900, 300.0)
    hot = dataclasses.replace(
        slow["half"], turns=dataclasses.replace(slow["half"].turns, state=state)
    )
    judgement = compare(sessions, {**slow, "half": hot}).of(Metric.SPEED, "")
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "thermal" in judgement.reason
    torso = dataclasses.replace(slow["half"], rounds=slow["half"].rounds[:1])
    judgement = compare(sessions, {**slow, "half": torso}).of(Metric.SPEED, "")
    assert judgement.verdict is Verdict.INVALID


def test_turns_that_were_not_asked_for_are_not_compared(rng):
    def untimed(records, seconds):
        return {
            name: dataclasses.replace(
                r,
                config=dataclasses.replace(r.config, turns=0),
                rounds=tuple(dataclasses.replace(e, seconds=seconds) for e in r.rounds),
            )
            for name, r in records.items()
        }

    sessions = [untimed(records, 1.0) for records in baseline(rng)]
    sessions[3] = untimed(sessions[3], None)
    found = compare(sessions, untimed(session(rng), 1.0))
    assert found.of(Metric.SPEED, "single").estimate.count == 7
    assert found.machine is None


def test_missing_turns_are_never_a_pass(rng):
    torso = {name: dataclasses.replace(entry, turns=None) for name, entry in session(rng).items()}
    found = compare(baseline(rng), torso)
    assert all(j.verdict is not Verdict.PASS for j in found.judgements if j.metric is Metric.SPEED)


def test_few_sessions_are_inconclusive_and_say_how_many_are_missing(rng):
    found = compare(baseline(rng)[:3], session(rng))
    for name in ("single", ""):
        judgement = found.of(Metric.SPEED, name)
        assert judgement.verdict is Verdict.INCONCLUSIVE
        assert "5 sessions needed, 3 found" in judgement.reason


def test_pairs_are_judged_given_how_the_machine_moved_within_them(rng):
    pairs = [
        (session(rng, state), session(rng, state + rng.normal(0, 0.05), {"half": 1.10}))
        for state in rng.normal(0, 0.1, 8)
    ]
    found = compare_pairs(pairs)
    speeds = {j.precision: j.verdict for j in found.judgements if j.metric is Metric.SPEED}
    assert speeds["half"] is Verdict.FAIL
    assert speeds["single"] is Verdict.PASS
    assert found.of(Metric.SPEED, "half").estimate.ratio == pytest.approx(1.10, abs=0.03)
