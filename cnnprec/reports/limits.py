"""How far a training step is from the limits of the device, and where its time goes, as text."""

import statistics
from collections.abc import Iterable

from cnnprec.records.limits import StepLimits
from cnnprec.records.record import Record
from cnnprec.verdicts.recommend import REFERENCE
from cnnprec.verdicts.statistics import fastest_third
from cnnprec.verdicts.step_limits import bound_by, impossible, least_seconds

_ENOUGH = 0.5  # of a step that the limits have to explain to be named as its bound
_HEADINGS = (
    *("precision", "bound by", "explained", "GFLOP/s", "GB/s", "us/launch"),
    *("input", "forward", "backward", "optimizer", "harness"),
)
LESS_NEEDED = ("us/launch", "GB/s", "GFLOP/s")


def step_seconds(record: Record) -> float | None:
    """Wall time of a step in seconds: that of turns is what is compared; None without times."""
    if record.turns is not None:
        return statistics.geometric_mean(fastest_third(record.turns.step_seconds))
    times = [r.seconds for r in record.rounds if r.seconds is not None]
    return statistics.fmean(times) / record.config.steps if times else None


def limits_table(records: Iterable[Record]) -> list[tuple[str, ...]]:
    """The headings, and a row for each precision whose limits were measured, times in ms."""
    rows = [_row(record, record.limits) for record in records if record.limits]
    return [_HEADINGS, *rows] if rows else []


def _row(record: Record, limits: StepLimits) -> tuple[str, ...]:
    device, times = limits.device, limits.times
    stages = [b - a for a, b in zip((0.0, *times), times, strict=False)]
    runs = [r.seconds / record.config.steps for r in record.rounds if r.seconds is not None]
    stages += [min(runs) - times.step] if runs else []
    shown = [f"{max(0.0, seconds) * 1e3:.2f}" for seconds in stages]
    step = step_seconds(record)
    share = None if step is None else _explained(limits, step)
    return (
        record.precision.name,
        "-" if share is None else _bound(limits, share) or "-",
        "-" if share is None else f"{share:.2f}",
        f"{device.highest / 1e9:.4g}",
        f"{device.bandwidth / 1e9:.3g}",
        f"{device.launch_seconds * 1e6:.2g}",
        *shown,
        *["-"] * (len(_HEADINGS) - 6 - len(shown)),
    )


def limits_sentences(records: Iterable[Record]) -> list[str]:
    """What bounds the step of `REFERENCE`, or else of the first; and each time that is INVALID."""
    pairs = [(r, seconds) for r in records if r.limits and (seconds := step_seconds(r))]
    lines = [
        f"INVALID: {record.precision}: {why}"
        for record, step in pairs
        if (why := impossible(record, step))
    ]
    pairs.sort(key=lambda pair: pair[0].precision.name != REFERENCE)
    return [*lines, *(_sentence(record, step) for record, step in pairs[:1])]


def _explained(limits: StepLimits, step: float) -> float:
    """The share of a step that would be left at the limits."""
    return sum(least_seconds(limits).values()) / step


def _bound(limits: StepLimits, share: float) -> str:
    """What bounds a step of which the limits explain this share; empty where that is too little."""
    return bound_by(limits) if share >= _ENOUGH else ""


def _sentence(record: Record, step: float) -> str:
    assert record.limits is not None  # noqa: S101 - chosen so above
    least = least_seconds(record.limits)
    parts = ", ".join(f"{name} {seconds * 1e3:.2f}" for name, seconds in least.items())
    share = _explained(record.limits, step)
    by = _bound(record.limits, share) or "none of these alone"
    taking = record.limits.times.input
    waiting = f" The input takes {taking * 1e3:.2f} ms." if taking >= _ENOUGH * step else ""
    return (
        f"{record.precision} is bound by {by}: at the device's limits {share:.0%} of its "
        f"{step * 1e3:.2f} ms a step would be left ({parts} ms).{waiting}"
    )
