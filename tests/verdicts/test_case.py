"""The figures of a record that are compared."""

import dataclasses
import math

import pytest

from cnnprec.verdicts.case import MEMORY, clocks, figure
from tests.support.histories import on_gpu, session, timed
from tests.support.records import record as make_record


def test_accelerator_is_judged_by_wall_time():
    assert clocks(make_record("single"))[0].field == "cpu_seconds"
    assert [clock.field for clock in clocks(on_gpu(session())["single"])] == ["seconds"]


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_shares_of_the_error_leave_the_rest_to_accuracy(kind):
    record = make_record("single")
    environment = dataclasses.replace(record.environment, device_kind=kind)
    shares = sum(
        s.share for s in (*clocks(dataclasses.replace(record, environment=environment)), MEMORY)
    )
    assert math.isclose(shares + 0.1, 1)


def test_figure_is_the_geometric_mean_and_none_where_a_round_has_no_time():
    record = timed(make_record("single"), [1.0, 4.0, 2.0])
    assert figure(record, "seconds") == pytest.approx(2.0, rel=1e-15)
    rounds = (*record.rounds[:2], dataclasses.replace(record.rounds[2], seconds=None))
    assert figure(dataclasses.replace(record, rounds=rounds), "seconds") is None
