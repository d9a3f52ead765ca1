"""The figures of a record that are compared."""

import dataclasses
import math

import pytest

from cnnprec.verdicts.case import ALL_TIMES, MEAN_TIME, MEMORY, TIME, figure
from cnnprec.verdicts.judge_runs import ACCURACY_SHARE
from cnnprec.verdicts.verdict import Limits
from tests.support.histories import timed, with_turns
from tests.support.records import record as make_record


def test_shares_of_the_error_leave_the_rest_to_accuracy():
    shares = sum(size.share for size in (TIME, MEAN_TIME, ALL_TIMES, MEMORY))
    assert math.isclose(shares + ACCURACY_SHARE, 1)


def test_figure_is_the_geometric_mean_and_none_where_a_round_has_no_time():
    record = timed(make_record("single"), [1.0, 4.0, 2.0])
    assert figure(record, TIME.field) == pytest.approx(2.0 / record.config.steps, rel=1e-14)
    rounds = (*record.rounds[:2], dataclasses.replace(record.rounds[2], seconds=None))
    assert figure(dataclasses.replace(record, rounds=rounds), TIME.field) is None


def test_figure_of_turns_is_that_of_their_fastest_third_and_their_mean_is_the_arithmetic():
    record = with_turns([8.0, 1.0, 4.0, 2.0, 10.0, 16.0, 16.0, 16.0, 1.0, 2.0])
    assert figure(record, TIME.field) == pytest.approx(4 ** (1 / 4) / 10, rel=1e-14)  # 1, 1, 2, 2
    assert figure(record, MEAN_TIME.field) == pytest.approx(0.76, rel=1e-14)


def test_whole_runs_have_no_mean_of_turns():
    assert figure(timed(make_record("single"), [1.0, 4.0, 2.0]), MEAN_TIME.field) is None


@pytest.mark.parametrize(
    ("limits", "widened"),
    [
        (Limits(0.03, 0.10), Limits(0.10, 0.25)),
        (Limits(0.03, 0.40), Limits(0.10, 0.40)),
        (Limits(0.30, 0.50), Limits(0.30, 0.50)),
    ],
)
def test_limits_of_the_mean_are_never_narrower_than_its_own(limits, widened):
    assert MEAN_TIME.widened(limits) == widened
    assert TIME.widened(limits) == limits
