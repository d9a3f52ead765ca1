"""Labelled images in memory, whatever they come from."""

import dataclasses
import hashlib
import math
import os
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]

CLASSES = 10
SIDE = 28
# Bytes; the widest vector register that TensorFlow's kernels load at once (AVX-512). Arrays that
# start at a multiple of it can be used as tensors without a copy.
ALIGNMENT = 64


class DatasetError(ValueError):
    """A data set is missing, damaged or too small; the message names the remedy."""


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images for training and testing. The arrays are made read-only."""

    name: str
    source: str  # folder the files were read from, or ``"generated"``
    # SHA-256 over the four arrays' own (hex), in the order of the fields. For Fashion-MNIST that
    # of the whole set, also when not all is kept.
    digest: str
    train_images: UInt8Array  # [n, 28, 28, 1], 0 to 255, like the test images
    train_labels: UInt8Array  # [n], 0 to 9
    test_images: UInt8Array
    test_labels: UInt8Array

    def __post_init__(self) -> None:
        for field in ("train_images", "train_labels", "test_images", "test_labels"):
            getattr(self, field).flags.writeable = False


def check_size(what: str, samples: int | None, available: int | None = None) -> None:
    """Raises a DatasetError for a number of images, called `what`, that cannot be had."""
    if samples is not None and (samples < 1 or samples > (available or samples)):
        accepted = f"1 to {available} for Fashion-MNIST" if available else "1 or more"
        remedy = " Use --dataset synthetic for any other size." if samples > 0 else ""
        raise DatasetError(f"{what} is {samples}; accepted is {accepted}.{remedy}")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if samples is not None and samples * SIDE**2 > memory / 2:
        raise DatasetError(
            f"{what} is {samples}: the images take {samples * SIDE**2 / 1e9:.0f} GB, and this "
            f"machine has {memory / 1e9:.0f} GB of memory; use fewer."
        )


def aligned_empty(shape: tuple[int, ...]) -> UInt8Array:
    """An empty uint8 array that starts at a multiple of `ALIGNMENT`; NumPy promises 16 bytes."""
    size = math.prod(shape)
    buffer = np.empty(size + ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % ALIGNMENT
    return buffer[start : start + size].reshape(shape)


def joint_digest(digests: Iterable[str]) -> str:
    """The SHA-256 (hex) over the digests (hex) of a data set's four arrays."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()
