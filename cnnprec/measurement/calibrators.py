"""Fixed work with NumPy alone, about 10 ms on two cores of 2020, that tells the machine's speed."""

import dataclasses
from collections.abc import Callable

import numpy as np

Work = Callable[[], object]


@dataclasses.dataclass(frozen=True)
class Calibrator:
    """One kind of work: its name in records, and what allocates what it needs and returns it."""

    name: str
    prepare: Callable[[], Work]


def _products(rows: int, count: int) -> Work:
    # The CNN's second convolution as a matrix product; 121 rows are one image.
    left, right = np.ones((rows, 288), np.float32), np.ones((288, 64), np.float32)
    target = np.empty((rows, 64), np.float32)
    return lambda: [np.matmul(left, right, out=target) for _ in range(count)]


# Why there is none of the memory: docs/comparing.md.
CALIBRATORS = (
    Calibrator("product", lambda: _products(64 * 121, 2)),  # bound by arithmetic on all cores
    Calibrator("products", lambda: _products(10 * 121, 20)),  # by how soon all cores are at work
)
