"""What bounds a training step, by the limits of the device (docs/limits.md has the rule)."""

from cnnprec.records.limits import StepLimits
from cnnprec.records.record import Record

DRIFT = 1.2  # how much faster the machine may have become since its limits were measured


def share_of_limit(record: Record, step_seconds: float | None) -> float | None:
    """The rate of a step over the highest that the device reached; None where one is not known."""
    if record.limits is None or not step_seconds:
        return None
    return record.limits.operations / step_seconds / record.limits.device.highest


def least_seconds(limits: StepLimits) -> dict[str, float]:
    """What a step takes at the limits, in seconds, by what bounds it.

    A layer in one direction is bound by arithmetic or by memory, whichever takes longer.
    """
    device = limits.device
    found = {"arithmetic": 0.0, "memory": 0.0}
    for part in limits.parts:
        arithmetic = part.operations / getattr(device, part.kind)
        memory = part.traffic / device.bandwidth
        found["arithmetic" if arithmetic > memory else "memory"] += max(arithmetic, memory)
    return {**found, "launches": limits.launches * device.launch_seconds}


def bound_by(limits: StepLimits) -> str:
    """What takes the most of a step at the limits: arithmetic, memory or launches."""
    found = least_seconds(limits)
    return max(found, key=found.__getitem__)


def impossible(record: Record, step_seconds: float | None) -> str:
    """Why a time of a step cannot be right: the device is not that fast. Empty if it can be."""
    share = share_of_limit(record, step_seconds)
    if share is None or share <= DRIFT:
        return ""
    return (
        f"a step computes at {share:.2f} of the device's limit, more than {DRIFT:g}, so its time "
        "is not that of the whole step; check the clock and measure again"
    )
