"""How far numbers may move: ten times what harmless changes of the stack moved them.

``harmless.json`` holds what was recorded, `docs/evidence/harmless.py` records it.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from importlib import resources
from typing import Any

TIMES = 10
"""A limit is so many times the largest harmless value."""

_FLOORS = {"losses": 1e-6, "float64": 1e-6, "steps": 2.0**-23}
"""Losses are kept in float32, so less is luck; over 16 steps other processors moved 1.2e-6."""


@functools.cache
def _table() -> dict[str, Any]:
    text = resources.files("cnnprec.verdicts").joinpath("harmless.json").read_text("utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


def limits(kind: str, precision: str) -> Any:
    """The row of a precision, times ten; infinite where a harmless run was not finite.

    Args:
        kind: A table of the file, such as ``"losses"``.
        precision: Its name. One without a row has that of ``mixed_half``, whose 11 significand bits
            TF32 has too.
    """
    rows = _table()[kind]
    return _times(rows.get(precision, rows.get("mixed_half")), _FLOORS.get(kind, 0.0))


def mean_limits(dtype: str) -> dict[str, float]:
    """How far the mean error over bound of each kind of operation may be from 0."""
    rows = _table()["means"].get(dtype, {})
    # Where it is 0, all was exact, which the bounds see, or a known defect.
    return {name: TIMES * max(value, 0.01) for name, value in rows.items() if value}


def _times(row: Any, floor: float) -> Any:
    if isinstance(row, dict):
        return {key: _times(value, floor) for key, value in row.items()}
    if isinstance(row, list):
        return [_times(value, floor) for value in row]
    return math.inf if row is None else TIMES * max(row, floor)


def first_over(
    losses: Sequence[float], right: Sequence[float], most: Sequence[float]
) -> tuple[int, float] | None:
    """The first step whose loss is farther from the right one than it may be, and how far.

    Returns:
        Step and relative distance, infinite where only one of the two is finite; None if there
        is no such step.
    """
    for step, (a, b, limit) in enumerate(zip(right, losses, most, strict=False)):
        if repr(a) == repr(b) or math.isinf(limit):  # also two NaN
            continue
        apart = abs(b - a) / abs(a) if a else math.inf
        apart = apart if math.isfinite(apart) else math.inf
        if apart > limit:
            return step, apart
    return None
