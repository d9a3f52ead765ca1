"""A small set in the files of Fashion-MNIST, and a stand-in for Keras' download."""

from __future__ import annotations

import gzip
import hashlib
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from cnnprec.workload import fashion_mnist

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = fashion_mnist._FILES
MIB = 1 << 20


def idx(array: npt.NDArray[np.uint8], *, magic: bytes | None = None) -> bytes:
    """Returns an IDX file, not compressed."""
    dimensions = np.array(array.shape, ">u4").tobytes()
    return (magic or bytes((0, 0, 8, array.ndim))) + dimensions + array.tobytes()


def write_idx(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, compresslevel=1))


class SmallSet:
    """Twenty training and ten test images, which the package takes for Fashion-MNIST."""

    def __init__(self) -> None:
        random = np.random.default_rng(5)
        self.arrays: dict[str, npt.NDArray[np.uint8]] = {}
        for images, labels, count in (
            (TRAIN_IMAGES, TRAIN_LABELS, 20),
            (TEST_IMAGES, TEST_LABELS, 10),
        ):
            self.arrays[images] = random.integers(0, 256, (count, 28, 28), np.uint8)
            self.arrays[labels] = (np.arange(count) % 10).astype(np.uint8)

    def write(self, folder: Path) -> Path:
        for name, array in self.arrays.items():
            write_idx(folder / name, idx(array))
        return folder

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        digests = {n: hashlib.sha256(a.tobytes()).hexdigest() for n, a in self.arrays.items()}
        for name, value in (("TRAIN_SIZE", 20), ("TEST_SIZE", 10), ("_FILES", digests)):
            monkeypatch.setattr(fashion_mnist, name, value)


class FakeKeras:
    """Stands for Keras' download, which fails until told otherwise."""

    def __init__(self) -> None:
        self.calls = 0
        self.timeout: float | None = None
        self.action: Callable[[], object] = self.fail

    def fail(self) -> None:
        raise Exception("URL fetch failure: no network in tests")  # Keras raises no subclass

    def load_data(self) -> None:
        self.calls += 1
        self.timeout = socket.getdefaulttimeout()
        self.action()
