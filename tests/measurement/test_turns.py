"""The timed turns, with workers and a clock that are planned."""

import collections

import pytest

from cnnprec.measurement import turns as module
from cnnprec.measurement.calibrators import CALIBRATORS
from cnnprec.measurement.turns import Timing, steps_for


class Clock:
    """A clock that stands still but for what work adds to it."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(
        module,
        "CALIBRATORS",
        [
            module.CALIBRATORS[0].__class__(
                row.name, lambda: lambda: setattr(clock, "now", clock.now + 0.01)
            )
            for row in CALIBRATORS
        ],
    )
    return clock


def workers(clock, seconds, done):
    def worker(name):
        def work():
            done.append(name)
            clock.now += seconds[name].pop(0) if seconds[name] else 0.1

        return work

    return {name: worker(name) for name in seconds}


def test_every_turn_has_every_precision_once_in_orders_that_differ(clock):
    done = []
    timing = Timing(workers(clock, {"a": [], "b": [], "c": []}, done), seed=1)
    for _ in range(12):
        timing.take()
    turns = [tuple(done[i : i + 3]) for i in range(0, 36, 3)]
    assert all(sorted(turn) == ["a", "b", "c"] for turn in turns)
    assert len(set(turns)) > 2
    assert all(len(timing.seconds(name)) == 12 for name in "abc")
    again = []
    other = Timing(workers(clock, {"a": [], "b": [], "c": []}, again), seed=1)
    for _ in range(12):
        other.take()
    assert again == done


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (2, 2), (4, 4), (8, 8)])
def test_calibrators_take_turns_so_that_each_runs_equally_often(clock, count, expected):
    names = [f"p{i}" for i in range(count)]
    timing = Timing(workers(clock, {name: [] for name in names}, []), seed=0)
    for _ in range(6):
        timing.take()
    often = collections.Counter(
        {name: len(times) for name, times in timing.calibrator_seconds.items()}
    )
    assert set(often.values()) == {6 * expected // len(CALIBRATORS)}
    assert dict(timing.calibrators()) == pytest.approx({row.name: 0.01 for row in CALIBRATORS})


def test_warm_up_goes_on_until_the_turns_are_no_longer_faster(clock):
    slow_start = [0.5, 0.4, 0.3, 0.2, 0.12, 0.1, 0.1, 0.1]
    timing = Timing(workers(clock, {"a": slow_start.copy(), "b": slow_start.copy()}, []), seed=0)
    timing.warm()
    assert timing.steady
    assert timing.warm_up == 9  # turns 8 and 9 are the first that are no faster than two before
    assert timing.seconds("a") == ()


def test_turns_that_never_become_steady_are_said_to_be_so(clock):
    falling = [0.9**i for i in range(30)]
    timing = Timing(workers(clock, {"a": falling}, []), seed=0)
    timing.warm()
    assert not timing.steady
    assert timing.warm_up == 12


def test_dropped_precision_takes_no_more_turns(clock):
    done = []
    timing = Timing(workers(clock, {"a": [], "b": []}, done), seed=0)
    timing.take()
    timing.drop("a")
    timing.take()
    assert sorted(done) == ["a", "b", "b"]
    assert len(timing.seconds("b")) == 2


@pytest.mark.parametrize(("seconds", "steps"), [(0.01, 10), (0.034, 3), (5.0, 1), (1e-5, 10_000)])
def test_steps_fill_a_tenth_of_a_second_and_are_at_least_one(seconds, steps):
    assert steps_for(seconds) == steps


def test_real_calibrators_do_the_same_work_each_time():
    for row in CALIBRATORS:
        work = row.prepare()
        work()
        work()
        assert row.name
