"""The history of saved sessions: which belong to it, and where their level changed."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from cnnprec.verdicts.history import FEWEST, change_points, cut, history
from cnnprec.verdicts.judge_saved import compare_sessions
from cnnprec.verdicts.verdict import Verdict
from tests.support.histories import both, session
from tests.support.saved import row, saved, turned, with_environment

TRIALS = 200


def noise(random, count, correlation=0.0):
    draws = random.normal(size=count)
    for place in range(1, count):
        draws[place] = correlation * draws[place - 1] + math.sqrt(1 - correlation**2) * draws[place]
    return draws


def creep(random):
    """Two steps of +4 %, each held for 15 sessions, with noise of 1.5 %."""
    return np.repeat(np.log(1.04) * np.arange(3), 15) + 0.015 * noise(random, 45)


def alarms(draw, trials=TRIALS) -> int:
    random = np.random.default_rng(12)
    return sum(len(change_points(draw(random))) > 1 for _ in range(trials))


def whole(sessions):
    return history(sessions, sessions[-1].records)


# Bounds: measured 99.3 % of 2,000 (docs/history.md); 180 of 200 leaves room for chance alone.
def test_a_creep_is_flagged():
    assert alarms(creep) >= 0.9 * TRIALS


def test_a_creep_is_flagged_where_each_session_passes_beside_the_five_before_it():
    quiet = 0
    for seed in range(5):
        sessions = row(np.exp(creep(np.random.default_rng(seed))))
        assert whole(sessions).starts["single"][1:]
        quiet += Verdict.FAIL not in {
            compare_sessions(sessions[place - 5 : place], sessions[place].records).verdict
            for place in range(5, len(sessions))
        }
    assert quiet >= 2


@pytest.mark.parametrize("count", [30, 60, 120])
def test_two_speeds_are_no_change(count):
    def draw(random):
        return np.log(1.10) * random.integers(0, 2, count) + 0.01 * noise(random, count)

    assert alarms(draw) <= 0.03 * TRIALS


@pytest.mark.parametrize("count", [30, 60, 120])
@pytest.mark.parametrize(("correlation", "most"), [(0.0, 0.03), (0.5, 0.10)])
def test_noise_alone_is_no_change(count, correlation, most):
    assert alarms(lambda r: 0.02 * noise(r, count, correlation)) <= most * TRIALS


@pytest.mark.parametrize("size", [0.1, 2.3, -0.7])
@pytest.mark.parametrize("place", [0, 1, 17, 28, 29])
def test_one_outlier_is_no_change(size, place):
    def draw(random):
        logs = 0.02 * noise(random, 30)
        logs[place] += size
        return logs

    assert alarms(draw, 40) <= 2


def test_an_outlier_hides_no_step_and_the_step_is_found_at_its_place():
    found = 0
    random = np.random.default_rng(5)
    for _ in range(50):
        logs = np.repeat([0, math.log(1.10)], [30, 10]) + 0.02 * noise(random, 40)
        logs[8] += 2.3
        found += any(abs(start - 30) <= 2 for start in change_points(logs))
    assert found >= 45


def test_equal_times_have_no_change_and_a_step_of_them_has_one():
    assert change_points(np.zeros(20)) == [0]
    assert change_points(np.repeat([0.0, 0.2], [12, 8])) == [0, 12]
    assert change_points(np.repeat([0.0, 1e-5], [12, 8])) == [0]


def test_levels_are_not_too_short_and_too_few_times_are_not_judged():
    assert change_points(np.repeat([0.0, 0.7], [4, 5])) == [0]
    assert change_points(np.repeat([0.0, 0.7], [5, 5])) == [0, 5]
    assert FEWEST == 10


def cost(times, starts, penalty):
    levels = np.split(times, starts[1:])
    return sum(np.sum((level - level.mean()) ** 2) for level in levels) + penalty * len(levels)


def partitions(count, start=0):
    """All ways to cut so many times into levels of five or more."""
    yield [start]
    for end in range(start + 5, count - 4):
        yield from ([start, *rest] for rest in partitions(count, end))


@pytest.mark.parametrize("seed", range(20))
def test_no_other_levels_cost_less(seed):
    random = np.random.default_rng(seed)
    times = np.repeat(random.normal(0, 2, 4), [5, 6, 5, 8]) + random.normal(0, 1, 24)
    penalty = random.uniform(1, 30)
    found = cut(times, penalty)
    least = min(partitions(24), key=lambda starts: cost(times, starts, penalty))
    assert found == least


def test_a_history_has_the_times_over_their_median_in_the_order_of_saving():
    sessions = row([1.0, 1.5, 0.5])
    found = whole(sessions)
    assert list(np.exp(found.times["single"])) == pytest.approx([1.0, 1.5, 0.5])
    turned_round = history(sessions[::-1], sessions[0].records)
    assert list(turned_round.times["single"]) == list(found.times["single"])


def test_levels_are_the_means_of_the_times():
    found = whole(row([1.0] * 6 + [1.2] * 8))
    assert found.starts == {"single": [0, 6]}
    assert found.levels("single") == pytest.approx([math.log(1 / 1.2), 0.0])


def machine(random, count=40):
    """A machine whose state walks: times follow it by 0.8, within noise of 1 %."""
    states = 0.08 * noise(random, count, 0.7)
    return 0.8 * states + 0.01 * noise(random, count), states


def test_what_calibrators_explain_is_taken_off():
    times, states = machine(np.random.default_rng(1))
    given = whole(
        [saved(p, turned(t, s)) for p, (t, s) in enumerate(zip(times, states, strict=True))]
    )
    raw = whole([saved(p, turned(t, 0.0)) for p, t in enumerate(times)])
    assert np.std(raw.times["single"]) > 0.04
    assert np.std(given.times["single"]) < 0.015


def test_a_step_of_the_code_is_found_whatever_the_machine_does_and_a_slow_machine_is_none():
    found, false = 0, 0
    for seed in range(20):
        times, states = machine(np.random.default_rng(seed))
        slower = times + np.repeat([0.0, 0.05], 20)
        pairs = [zip(logs, states, strict=True) for logs in (times, slower)]
        quiet, step = (whole([saved(p, turned(t, s)) for p, (t, s) in enumerate(q)]) for q in pairs)
        false += len(quiet.starts["single"]) > 1
        found += any(abs(start - 20) <= 2 for start in step.starts["single"][1:])
    assert false <= 2
    assert found >= 18


def test_a_new_numpy_makes_the_calibrators_faster_and_not_the_training_slower():
    times, states = machine(np.random.default_rng(2))
    sessions = [
        saved(p, turned(t, s - (0.3 if p >= 20 else 0.0), numpy="2.5.0" if p >= 20 else "2.4.6"))
        for p, (t, s) in enumerate(zip(times, states, strict=True))
    ]
    assert whole(sessions).starts["single"] == [0]


def test_other_machines_and_workloads_are_left_out_and_counted_by_difference():
    other = with_environment(session(), device_model="Other CPU", cpu_model="Other CPU")
    sessions = [
        *(saved(place, other) for place in range(3)),
        saved(3, session(name="half")),
        *(saved(place, session()) for place in range(4, 9)),
    ]
    found = whole(sessions)
    assert list(found.sessions) == sessions[4:]
    assert found.left_out == {
        "device_model: Other CPU -> Some CPU; cpu_model: Other CPU -> Some CPU": 3,
        "precisions: half -> single": 1,
    }


def test_sessions_without_a_precision_or_a_time_are_left_out():
    sessions = [saved(place, both()) for place in range(4)]
    records = dict(sessions[1].records)
    rounds = tuple(dataclasses.replace(e, seconds=None) for e in records["half"].rounds)
    records["half"] = dataclasses.replace(records["half"], rounds=rounds)
    sessions[1] = dataclasses.replace(sessions[1], records=records)
    sessions[2] = dataclasses.replace(sessions[2], records={"single": records["single"]})
    found = whole(sessions)
    assert list(found.sessions) == [sessions[0], sessions[3]]
    assert found.left_out == {"a precision was not measured or has no time": 2}


def test_where_nothing_was_measured_like_this_the_history_is_empty():
    found = history([saved(0, session(name="half"))], session())
    assert (found.sessions, found.times) == ((), {})


def test_the_page_has_every_table_of_its_script(monkeypatch):
    docs = Path(__file__).parents[2] / "docs"
    monkeypatch.syspath_prepend(str(docs / "evidence"))
    import history_rates

    page = (docs / "history.md").read_text()
    for table in (history_rates.false_alarms(2), history_rates.ever(1), history_rates.power(2)):
        heading, _, *rows = table
        assert heading in page
        assert all(f"| {line.split(' | ')[0].removeprefix('| ')} | " in page for line in rows)
