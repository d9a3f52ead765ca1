"""Work that tells how fast the machine is, whatever TensorFlow, the driver and this project do.

Each calibrator does a fixed amount of work with Python and NumPy alone, 10 to 20 ms on a core of
2020. It runs between the precisions of a turn, so that it meets the same minute of the machine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

Work = Callable[[], object]


@dataclasses.dataclass(frozen=True)
class Calibrator:
    """One kind of work: its name in records, and what allocates what it needs and returns it."""

    name: str
    prepare: Callable[[], Work]


def _copy() -> Work:
    source = np.ones(6_000_000)  # 48 MB: larger than the caches
    target = np.empty_like(source)
    return lambda: np.copyto(target, source)


def _gather() -> Work:
    source = np.ones(2_000_000, np.float32)  # 8 MB
    places = np.random.default_rng(0).permutation(source.size)
    target = np.empty_like(source)
    return lambda: np.take(source, places, out=target)


def _product() -> Work:
    # The shape of the CNN's second convolution as a matrix product, for a batch of 64.
    left, right = np.ones((64 * 121, 288), np.float32), np.ones((288, 64), np.float32)
    target = np.empty((left.shape[0], 64), np.float32)
    return lambda: [np.matmul(left, right, out=target) for _ in range(2)]


def _loop() -> int:
    return sum(number * number for number in range(200_000))


CALIBRATORS = (
    Calibrator("copy", _copy),  # bound by the memory's bandwidth
    Calibrator("gather", _gather),  # by its latency
    Calibrator("product", _product),  # by arithmetic on all cores
    Calibrator("loop", lambda: _loop),  # by the interpreter on one core
)
"""Every calibrator; a new one is a row."""
