"""The recommendation: fabricated records, and the recorded sessions."""

import collections
import dataclasses
from pathlib import Path

import pytest

from cnnprec.precision.precisions import get_precision
from cnnprec.records.read_sessions import read_sessions
from cnnprec.records.record import Outcome, Record, Turns
from cnnprec.verdicts.recommend import recommend
from docs.evidence.recording import read
from tests.support.records import a_round, record

BASELINES = Path(__file__).parents[2] / "benchmarks" / "baselines"
NOISE = (1.0, 1.02, 0.99, 1.01, 0.98, 1.0, 1.01, 0.99, 1.02, 0.98)
SEEN = (0.90, 0.91, 0.89, 0.90, 0.92, 0.90, 0.91, 0.89, 0.90, 0.91)


def measured(name: str, seconds: float, *, lost: float = 0.0, runs: int = 10, **run) -> Record:
    """Runs whose times and accuracies vary a little; those of precisions differ by a share."""
    wobble = 1 + len(name) / 10_000  # no two precisions vary alike
    rounds = tuple(
        a_round(seconds * noise**wobble, accuracy=seen - lost, seed=i, **run)
        for i, (noise, seen) in enumerate(zip(NOISE[:runs], SEEN[:runs], strict=True))
    )
    return record(name, rounds)


def answer(*records: Record):
    found = recommend(records)
    return found.precision, not found.reason, {c.name: c.objection for c in found.candidates}


SINGLE = measured("single", 1.0)


def test_fastest_that_trains_as_well_is_the_answer():
    found = answer(SINGLE, measured("mixed_half", 0.5), measured("double", 2.0))
    assert found == ("mixed_half", True, {"double": "slower than mixed_half", "mixed_half": ""})


def test_single_is_the_answer_where_nothing_is_faster():
    assert answer(SINGLE, measured("double", 2.0), measured("mixed_half", 0.98)) == (
        "single",
        True,
        {"double": "not faster than single", "mixed_half": "not faster than single"},
    )


@pytest.mark.parametrize("outcome", [Outcome.DIVERGED, Outcome.FROZEN])
def test_precision_that_did_not_train_in_every_run_is_never_the_answer(outcome):
    half = measured("half", 0.1)
    bad = dataclasses.replace(
        half, rounds=(*half.rounds[:-1], a_round(0.1, outcome=outcome, seed=9))
    )
    name, _, objections = answer(SINGLE, bad, measured("mixed_half", 0.5))
    assert name == "mixed_half"
    assert objections["half"] == "did not train in every run"


def test_loss_of_accuracy_that_is_shown_is_an_objection_and_a_smaller_one_is_none():
    name, _, objections = answer(SINGLE, measured("bfloat16_stable", 0.5, lost=0.02))
    assert (name, objections) == ("single", {"bfloat16_stable": "less accurate than single"})
    assert answer(SINGLE, measured("bfloat16_stable", 0.5, lost=0.009))[:2] == (
        "bfloat16_stable",
        True,
    )


def test_accuracy_that_is_neither_shown_nor_excluded_makes_it_provisional():
    fast = measured("mixed_bfloat16", 0.5, runs=3)
    found = recommend([measured("single", 1.0, runs=3), fast])
    assert (found.precision, found.reason) == ("mixed_bfloat16", "provisional")
    assert found.next == "pytest benchmarks/ --precision single,mixed_bfloat16 --runs 10"
    spread = tuple(
        dataclasses.replace(
            entry, run=dataclasses.replace(entry.run, test_accuracy=0.9 + 0.09 * (-1) ** i)
        )
        for i, entry in enumerate(measured("mixed_bfloat16", 0.5).rounds)
    )
    found = recommend([SINGLE, record("mixed_bfloat16", spread)])
    assert (found.precision, found.reason) == ("mixed_bfloat16", "provisional")
    assert found.next.endswith("--runs 20")


def test_safer_of_two_is_taken_unless_it_is_shown_to_be_slower():
    stable = measured("bfloat16_stable", 0.5)
    name, _, objections = answer(SINGLE, stable, measured("mixed_bfloat16", 0.505))
    assert name == "mixed_bfloat16"
    assert objections["bfloat16_stable"].startswith("not shown to be faster than mixed_bfloat16")
    assert answer(SINGLE, stable, measured("mixed_bfloat16", 0.6))[0] == "bfloat16_stable"
    assert answer(SINGLE, measured("mixed_half", 0.5), measured("mixed_bfloat16", 0.505))[0] == (
        "mixed_bfloat16"  # it needs no loss scale
    )


def test_noise_larger_than_the_difference_is_no_evidence():
    times = (0.5, 1.1, 0.9)
    rounds = tuple(a_round(s, accuracy=0.9, seed=i) for i, s in enumerate(times))
    found = recommend([measured("single", 1.0, runs=3), record("mixed_half", rounds)])
    assert found.precision == ""
    assert found.next == "pytest benchmarks/ --precision single,mixed_half --runs 10"
    assert found.reason == "mixed_half took less time, but the noise is larger than that"


def test_one_run_is_no_evidence():
    found = recommend([measured("single", 1.0, runs=1), measured("mixed_half", 0.5, runs=1)])
    assert found.precision == ""
    assert found.reason == "fewer than two timed runs do not tell the noise"
    untimed = tuple(a_round(None, seed=i) for i in range(3))
    assert recommend([record("single", untimed), record("half", untimed)]).precision == ""


def test_without_single_or_where_it_did_not_train_there_is_nothing_to_judge_by():
    found = recommend([measured("double", 1.0), measured("mixed_half", 0.5)])
    assert (found.precision, found.reason) == ("", "single was not measured")
    frozen = measured("single", 1.0, outcome=Outcome.FROZEN)
    found = recommend([frozen, measured("mixed_half", 0.5)])
    assert (found.precision, found.reason) == ("", "single itself did not train in every run")


def test_one_precision_alone_needs_no_answer():
    assert recommend([SINGLE]) is recommend([]) is None


def test_turns_are_the_times_where_there_are_some():
    def turned(record: Record, seconds: float) -> Record:
        times = tuple(seconds * noise for noise in NOISE)
        return dataclasses.replace(record, turns=Turns(10, times, (("copy", 0.1),), 4, True))

    slow_runs = measured("mixed_half", 3.0)
    assert answer(turned(SINGLE, 0.1), turned(slow_runs, 0.05))[0] == "mixed_half"
    assert answer(SINGLE, slow_runs)[0] == "single"
    # A turn of a tenth of a second is no run of one.
    assert answer(SINGLE, turned(slow_runs, 0.05))[0] == "single"
    assert answer(turned(SINGLE, 0.1), measured("mixed_half", 0.5))[0] == "mixed_half"


def test_recorded_sessions_name_one_precision_or_say_that_they_cannot():
    """At least 95 % of the sessions of a machine name the same one, or none."""
    (folder,) = (path for path in BASELINES.iterdir() if "family-26" in path.name)
    saved = [list(session.records.values()) for session in read_sessions(folder)[0]]
    recorded = [list(session.values()) for session in read().sessions]
    for sessions, expected in ((saved, "mixed_bfloat16"), (recorded, "single")):
        named = collections.Counter(recommend(session).precision for session in sessions)
        assert named[expected] + named[""] >= 0.95 * len(sessions)
        assert named[expected] >= 0.8 * len(sessions)


def test_step_compiled_by_xla_can_be_the_answer():
    faster = dataclasses.replace(
        measured("mixed_half", 0.5), precision=get_precision("mixed_half_xla")
    )
    found = answer(SINGLE, measured("mixed_half", 2.0), faster)
    slower = {"mixed_half": "slower than mixed_half_xla", "mixed_half_xla": ""}
    assert found == ("mixed_half_xla", True, slower)
