"""What bounds a step, and a time that no device can have, by records made by hand."""

import dataclasses

import pytest

from cnnprec.records.limits import DeviceLimits, StepLimits, StepPart, StepTimes
from cnnprec.records.record import Turns
from cnnprec.verdicts.compare import compare
from cnnprec.verdicts.step_limits import (
    DRIFT,
    bound_by,
    impossible,
    least_seconds,
    share_of_limit,
)
from cnnprec.verdicts.verdict import Metric, Verdict
from tests.support.records import CONFIG, a_round, record

# 20 GFLOP/s of products, 10 of convolutions, 8 of their gradients, 5 GB/s, 2 us a launch.
DEVICE = DeviceLimits(20e9, 10e9, 8e9, 5e9, 2e-6)
PARTS = (
    StepPart("conv forward", "convolution", 16_000_000, 1_000_000),  # 1.6 ms, 0.2 of memory
    StepPart("conv backward", "gradient", 24_000_000, 1_000_000),  # 3 ms, 0.2
    StepPart("dense", "product", 40_000_000, 1_000_000),  # 2 ms, 0.2
    StepPart("pool", "product", 0, 5_000_000),  # 1 ms of memory
)
LIMITS = StepLimits(DEVICE, PARTS, 250, StepTimes(0.001, 0.003, 0.007, 0.010))


def test_each_layer_counts_for_what_takes_it_longer():
    found = least_seconds(LIMITS)
    assert found == pytest.approx({"arithmetic": 6.6e-3, "memory": 1e-3, "launches": 0.5e-3})
    assert bound_by(LIMITS) == "arithmetic"


@pytest.mark.parametrize(
    ("device", "by"),
    [
        (DEVICE._replace(bandwidth=1e8), "memory"),
        (DEVICE._replace(launch_seconds=1e-4), "launches"),
        (DEVICE._replace(product=1e15, convolution=1e15, gradient=1e15), "memory"),
    ],
)
def test_bound_is_what_takes_the_most(device, by):
    assert bound_by(dataclasses.replace(LIMITS, device=device)) == by


def test_share_is_of_the_highest_rate():
    # 80 MFLOP in 10 ms are 8 GFLOP/s, of 20.
    assert share_of_limit(record(limits=LIMITS), 0.010) == pytest.approx(0.4)
    assert share_of_limit(record(limits=LIMITS), None) is None
    assert share_of_limit(record(), 0.010) is None


def test_only_a_time_that_no_device_can_have_is_impossible():
    least = 80e6 / 20e9  # 4 ms
    measured = record(limits=LIMITS)
    assert impossible(measured, least * 1.01 / DRIFT) == ""
    assert "a step computes at 1.21 of the device's limit" in impossible(measured, least / 1.21)
    assert impossible(record(), least / 10) == ""


def timed(step_seconds):
    """A session of `single` whose step took this long, with the limits of the device."""
    steps = CONFIG.steps
    seconds = step_seconds * steps
    turns = Turns(steps, (seconds,) * 12, (), 4, True)
    config = CONFIG.override(turns=12)
    rounds = (a_round(seconds), a_round(seconds, seed=13))
    return {"single": record(rounds=rounds, config=config, turns=turns, limits=LIMITS)}


@pytest.mark.parametrize(("stops_early", "verdict"), [(1, Verdict.PASS), (10, Verdict.INVALID)])
def test_timer_that_stops_early_is_invalid_and_no_speedup(stops_early, verdict):
    before = [timed(0.010 * (1 + i / 1000)) for i in range(8)]
    judged = compare(before, timed(0.010 / stops_early)).of(Metric.SPEED, "single")
    assert judged.verdict is verdict, judged.reason
    assert ("of the device's limit" in judged.reason) is (verdict is Verdict.INVALID)
