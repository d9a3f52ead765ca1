"""Faults that a bad stack shows are seen, and without one nothing is."""

import pytest

from tests.faults.rows import FAULTS
from tests.faults.trial import CONFIG, healthy, judged, trial

BY_NAME = {fault.name: fault for fault in FAULTS}
# A baseline is needed for these: the layer computes too well, or only bits of one step differ.
NEED_BITS = ("6 ", "7", "16 ", "18 ")


def test_convolution_that_gives_zeros_is_refused_without_a_baseline():
    caught = trial(BY_NAME["convolution gives zeros"], "single")
    assert {"operations", "first_steps", "learning"} == set(caught.alone)
    assert caught.placed
    assert "numerics" in caught.other


def test_nothing_is_wrong_without_a_fault():
    caught = judged(healthy("single", CONFIG))
    assert (caught.alone, caught.same, caught.other) == ((), (), ())


@pytest.mark.faults
@pytest.mark.parametrize(
    ("fault", "precision"),
    [
        pytest.param(fault, precision, id=f"{fault.name}-{precision}")
        for fault in FAULTS
        for precision in fault.precisions
        if not fault.name.startswith(NEED_BITS)
    ],
)
def test_fault_is_seen_without_a_baseline(fault, precision):
    assert trial(fault, precision).alone
