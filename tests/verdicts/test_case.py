"""The figures of a record that are compared."""

import dataclasses
import math

import pytest

from cnnprec.verdicts.case import ALL_TIMES, MEAN_TIME, MEMORY, TIME, figure
from cnnprec.verdicts.judge_runs import ACCURACY_SHARE
from tests.support.histories import timed
from tests.support.records import record as make_record


def test_shares_of_the_error_leave_the_rest_to_accuracy():
    shares = sum(size.share for size in (TIME, MEAN_TIME, ALL_TIMES, MEMORY))
    assert math.isclose(shares + ACCURACY_SHARE, 1)


def test_figure_is_the_geometric_mean_and_none_where_a_round_has_no_time():
    record = timed(make_record("single"), [1.0, 4.0, 2.0])
    assert figure(record, TIME.field) == pytest.approx(2.0 / record.config.steps, rel=1e-14)
    rounds = (*record.rounds[:2], dataclasses.replace(record.rounds[2], seconds=None))
    assert figure(dataclasses.replace(record, rounds=rounds), TIME.field) is None
