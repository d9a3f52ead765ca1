import dataclasses

import pytest

from cnnprec.machine.gpu_state import GpuState
from cnnprec.records.record import Turns
from cnnprec.verdicts.disturbance import disturbance
from tests.support.records import a_round, record


def turned(*seconds: float):
    return dataclasses.replace(record(), turns=Turns(1, seconds, (("copy", 0.1),), 4, True))


def test_runs_of_two_speeds_are_a_disturbance_and_those_of_one_are_none():
    assert disturbance([record("half", tuple(map(a_round, (1.8, 26.0, 1.9))))]) == (
        "half was slow in 1 of 3 times, up to 26.00 s instead of 1.80 s"
    )
    assert disturbance([record("half", tuple(map(a_round, (1.8, 2.6, 1.9))))]) is None


def test_one_slow_turn_of_many_is_none_and_one_in_ten_is():
    assert disturbance([turned(*[0.1] * 19, 0.9)]) is None
    assert "2 of 20 times" in disturbance([turned(*[0.1] * 18, 0.9, 0.9)])


def test_the_precision_with_most_slow_times_is_named():
    some = record("half", tuple(map(a_round, (1.0, 1.0, 2.0))))
    most = record("single", tuple(map(a_round, (1.0, 2.0, 2.0))))
    assert disturbance([some, most]).startswith("single was slow in 2 of 3")


@pytest.mark.parametrize(
    ("change", "clause"),
    [
        ({"other_processes": 1}, "1 other program computed on the GPU"),
        ({"throttled": ("thermal",)}, "the GPU was slowed down (thermal)"),
        ({"other_processes": 0}, None),
        ({"other_processes": None}, None),
    ],
)
def test_other_programs_and_slowdowns_of_the_gpu_are_a_disturbance(change, clause):
    state = dataclasses.replace(GpuState((), 0, (), 50, 1900, 300.0), **change)
    steady = turned(*[0.1] * 20)
    assert disturbance([steady]) is None
    turns = dataclasses.replace(steady.turns, state=state)
    assert disturbance([dataclasses.replace(steady, turns=turns)]) == clause


def test_sessions_without_times_are_not_disturbed():
    assert disturbance([record("half", (a_round(None), a_round(None)))]) is None
    assert disturbance([]) is None
