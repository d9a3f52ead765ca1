"""How far numbers may move: ten times what harmless changes of the stack moved them.

``harmless.json`` holds what was recorded, `docs/evidence/harmless.py` records it.
"""

import functools
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any

from cnnprec.precision.precisions import XLA
from cnnprec.records.record import Environment
from cnnprec.workload.profiles import PROFILES, TrainingConfig

TIMES = 10  # a limit is so many times the largest harmless value, where such were recorded

_DECISIVE = ("train_samples", "test_samples", "epochs", "batch_size")

# Limits are so many times wider where other kernels compute than those that were recorded, which
# are TensorFlow's own on a CPU (docs/driver-validation.md). Only gross faults are above these.
ELSEWHERE = 100
# Losses are kept in float32, so less is luck; over 16 steps other processors moved 1.2e-6.
_FLOORS = {"losses": 1e-6, "float64": 1e-6, "steps": 2.0**-23}


@functools.cache
def _read(package: str, name: str) -> dict[str, Any]:
    text = resources.files(f"cnnprec.{package}").joinpath(name).read_text("utf-8")
    return dict(json.loads(text))


def _table() -> dict[str, Any]:
    return _read("verdicts", "harmless.json")


def reference(config: TrainingConfig, data: str, seed: int) -> dict[str, Any] | None:
    """``first_losses``, ``losses`` and ``test_accuracy`` of float64 on this very work, or None.

    They are shipped for Fashion-MNIST with the quick profile.
    """
    runs: dict[str, dict[str, Any]] = _read("workload", "reference.json")["seeds"]
    same = all(getattr(config, name) == getattr(PROFILES["quick"], name) for name in _DECISIVE)
    return runs.get(str(seed)) if same and data == "fashion-mnist" else None


def seeds() -> list[int]:
    """The seeds of the recorded trainings: how far harmless changes move others is not known."""
    return list(_table()["seeds"])


def limits(kind: str, precision: str, environment: Environment) -> Any:
    """A precision's row of limits, such as ``"losses"``; infinite where a harmless run was."""
    rows = _table()[kind]
    plain = precision.removesuffix(XLA)  # which is one of the harmless changes
    row = rows.get(plain, rows.get("mixed_half"))  # TF32 has as many significand bits
    found = _times(row, _FLOORS.get(kind, 0.0), _factor(environment))
    if kind in ("losses", "float64"):
        # A rounding that decides where a maximum lies grows from step to step (docs/gpu.md).
        seen = _table()["discontinuous"].get(plain, [])
        found = [max(TIMES * a, b) for a, b in itertools.zip_longest(seen, found, fillvalue=0.0)]
    return found


def mean_limits(dtype: str, environment: Environment) -> dict[str, float]:
    """How far the mean error over bound of each kind of operation may be from 0."""
    rows = _table()["means"].get(dtype, {})
    # Where it is 0, all was exact, which the bounds see, or a known defect.
    factor = _factor(environment)
    return {name: factor * max(value, 0.01) for name, value in rows.items() if value}


def defect_limit(probe: str) -> float:
    """How far over its bound a probe with a known defect may be; infinite where it may be any."""
    return float(_times(_table()["defects"].get(probe, 1.0), 1.0, TIMES))


def _factor(environment: Environment) -> float:
    recorded = environment.device_kind == "cpu" and not environment.onednn
    return TIMES if recorded else TIMES * ELSEWHERE


def _times(row: Any, floor: float, factor: float) -> Any:
    if isinstance(row, dict):
        return {key: _times(value, floor, factor) for key, value in row.items()}
    if isinstance(row, list):
        return [_times(value, floor, factor) for value in row]
    return math.inf if row is None else factor * max(row, floor)


def distances(right: Sequence[float], losses: Sequence[float]) -> Iterator[float]:
    """By step, relative distances: infinite where one alone is finite, 0 where neither is."""
    for a, b in zip(right, losses, strict=False):
        if repr(a) == repr(b):  # also two NaN
            yield 0.0
        else:
            apart = abs(b - a) / abs(a) if a else math.inf
            yield apart if math.isfinite(apart) else math.inf


def first_over(
    losses: Sequence[float], right: Sequence[float], most: Sequence[float]
) -> tuple[int, float] | None:
    """The first step whose loss is farther from the right one than it may be, and how far."""
    found = enumerate(zip(distances(right, losses), most, strict=False))
    return next(((step, apart) for step, (apart, limit) in found if apart > limit), None)
