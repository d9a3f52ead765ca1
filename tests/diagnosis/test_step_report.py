"""What a report of a step says of itself."""

import dataclasses

from cnnprec.diagnosis.replay import StepReport

REPORT = StepReport(0, (), False, 0.0, 1.0, 1.0, 1.0)


def test_update_up_to_twice_the_bound_is_rounding_and_beyond_it_is_not():
    assert not dataclasses.replace(REPORT, largest_update=2.0).blew_up
    assert dataclasses.replace(REPORT, largest_update=2.1).blew_up
    assert not dataclasses.replace(REPORT, largest_update=None).blew_up


def test_skipped_step_is_not_a_freeze():
    still = dataclasses.replace(REPORT, moved=0.0)
    assert still.frozen
    assert not dataclasses.replace(still, skipped=True).frozen
    assert not dataclasses.replace(still, should_move=0.0).frozen
