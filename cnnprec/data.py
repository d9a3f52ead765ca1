"""The images a run trains on: Fashion-MNIST from wherever it lies, or a synthetic set.

Fashion-MNIST (Xiao, Rasul and Vollgraf, arXiv:1708.07747) is searched in this order:
the folder given, ``$CNNPREC_DATA_DIR``, the folder of Debian's and Ubuntu's package
``dataset-fashion-mnist``, the Keras cache, Keras' own download. Every source is verified.
A source that is there but damaged is an error; no other source is taken in its place.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import math
import os
import socket
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]

CLASSES = 10
SIDE = 28
DATASET_CHOICES = ("auto", "fashion-mnist", "synthetic")
# Bytes; the widest vector register that TensorFlow's kernels load at once (AVX-512). Arrays that
# start at a multiple of it can be used as tensors without a copy.
ALIGNMENT = 64
DATA_DIR_VARIABLE = "CNNPREC_DATA_DIR"

_PACKAGE_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_KERAS_SUBFOLDER = Path("datasets", "fashion-mnist")
# Where Keras puts its cache when the home folder cannot be written.
_KERAS_FALLBACK = Path("/tmp/.keras")  # noqa: S108 - Keras' choice; all that is read is verified
# A machine without a network must not wait minutes for the synthetic set.
_CONNECT_TIMEOUT_SECONDS = 5.0
# Each read decompresses at most this much into a temporary before it is copied.
_CHUNK_BYTES = 1 << 18

_REMEDY_MISSING = (
    "Install the package of Debian and Ubuntu (apt-get install dataset-fashion-mnist), give a "
    f"folder that holds all four files with --data-dir or {DATA_DIR_VARIABLE}, or use "
    "--dataset synthetic."
)
_REMEDY_DAMAGED = (
    "Put an intact copy in its place (in the Debian package's folder: apt-get install "
    "--reinstall dataset-fashion-mnist; in the Keras cache: delete the file and run again), or "
    "use --dataset synthetic."
)


class DatasetError(ValueError):
    """A data set is missing, damaged or too small; the message names the remedy."""


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images for training and testing. The arrays are made read-only.

    Two data sets are equal only if they are the same object; compare `digest` and the
    sizes to learn whether they hold the same images.

    Attributes:
        name: ``"fashion-mnist"`` or ``"synthetic"``.
        source: Folder the files were read from, or ``"generated"``.
        digest: SHA-256 (hex) over the four arrays' own SHA-256 digests (hex), in the order of
            the fields below. For Fashion-MNIST it covers the whole set, also when only
            its first images are kept.
        train_images: uint8, [n, 28, 28, 1], 0 to 255.
        train_labels: uint8, [n], 0 to 9.
        test_images: uint8, [m, 28, 28, 1], 0 to 255.
        test_labels: uint8, [m], 0 to 9.
    """

    name: str
    source: str
    digest: str
    train_images: UInt8Array
    train_labels: UInt8Array
    test_images: UInt8Array
    test_labels: UInt8Array
    classes: ClassVar[int] = CLASSES

    def __post_init__(self) -> None:
        for field in ("train_images", "train_labels", "test_images", "test_labels"):
            getattr(self, field).flags.writeable = False


@dataclasses.dataclass(frozen=True)
class _IdxFile:
    """One gzipped IDX file: its name, its shape, the SHA-256 of its decoded array."""

    name: str
    shape: tuple[int, ...]
    digest: str


# The digests were taken from Debian's package dataset-fashion-mnist 0.0~git20200523.55506a9-1
# as "gzip -dc FILE | tail -c +17 | sha256sum" (labels: "tail -c +9"), that is without the header.
_TRAIN_IMAGES = _IdxFile(
    "train-images-idx3-ubyte.gz",
    (60_000, SIDE, SIDE),
    "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
)
_TRAIN_LABELS = _IdxFile(
    "train-labels-idx1-ubyte.gz",
    (60_000,),
    "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
)
_TEST_IMAGES = _IdxFile(
    "t10k-images-idx3-ubyte.gz",
    (10_000, SIDE, SIDE),
    "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
)
_TEST_LABELS = _IdxFile(
    "t10k-labels-idx1-ubyte.gz",
    (10_000,),
    "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
)
_FILES = (_TRAIN_IMAGES, _TRAIN_LABELS, _TEST_IMAGES, _TEST_LABELS)


def load_dataset(
    choice: str = "auto",
    *,
    data_dir: Path | None = None,
    train_samples: int | None = None,
    test_samples: int | None = None,
) -> Dataset:
    """Loads Fashion-MNIST or generates the synthetic set.

    Args:
        choice: ``"fashion-mnist"``; ``"synthetic"``; or ``"auto"``: Fashion-MNIST, and the
            synthetic set where no source of it exists.
        data_dir: Folder with the four ``.gz`` files. No other is looked at then. It has
            no meaning for ``"synthetic"``.
        train_samples: How many images to keep, the first ones (the set is shuffled
            already); None keeps all 60,000. The synthetic set is made in any size.
        test_samples: The same for the 10,000 test images.

    Raises:
        DatasetError: The choice is unknown, a size is out of range, a folder that was asked
            for is incomplete, a file is damaged, or ``"fashion-mnist"`` was found nowhere.
    """
    if choice not in DATASET_CHOICES:
        raise DatasetError(f"unknown dataset {choice!r}; choose one of {DATASET_CHOICES}.")
    if choice != "synthetic":
        folder = _search(data_dir)
        failure = ""
        if folder is None:
            folder, failure = _download()
        if folder is not None:
            return _read_fashion_mnist(folder, train_samples, test_samples)
        if choice == "fashion-mnist":
            unset = ("--data-dir (not given)", f"${DATA_DIR_VARIABLE} (not set)")
            places = "".join(f"\n  {place}" for place in (*unset, *_usual_folders(), failure))
            raise DatasetError(
                f"Fashion-MNIST was not found. Looked at:{places}\n{_REMEDY_MISSING}"
            )
    # As many images as Fashion-MNIST has, so that times can be compared.
    return synthetic(
        _TRAIN_IMAGES.shape[0] if train_samples is None else train_samples,
        _TEST_IMAGES.shape[0] if test_samples is None else test_samples,
    )


def locate_fashion_mnist(data_dir: Path | None) -> Path | None:
    """Returns the local folder that `load_dataset` would read, or None.

    None means that it would download the files or raise `DatasetError`. Nothing is read
    and the network is not touched.
    """
    try:
        return _search(data_dir)
    except DatasetError:
        return None


def _search(data_dir: Path | None) -> Path | None:
    """Finds the first folder with all four files; the folder asked for is a must."""
    variable = os.environ.get(DATA_DIR_VARIABLE)
    if data_dir is not None or variable:
        folder = Path(data_dir or variable or "").expanduser()
        if missing := _missing(folder):
            origin = "--data-dir" if data_dir is not None else f"${DATA_DIR_VARIABLE}"
            raise _incomplete(f"{folder} (from {origin})", missing)
        return folder
    # A package in pieces is damaged. A Keras cache in pieces is a download to be finished.
    if 0 < len(missing := _missing(_PACKAGE_FOLDER)) < len(_FILES):
        raise _incomplete(str(_PACKAGE_FOLDER), missing)
    return next((folder for folder in _usual_folders() if not _missing(folder)), None)


def _usual_folders() -> tuple[Path, ...]:
    # Not Path.home(): it raises where the user has no home, as in many containers.
    keras = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")  # noqa: PTH111
    caches = (Path(keras).expanduser(), _KERAS_FALLBACK)
    return (_PACKAGE_FOLDER, *(cache / _KERAS_SUBFOLDER for cache in caches))


def _missing(folder: Path) -> list[str]:
    # os.access answers False, where Path.is_file raises, for folders that may not be entered.
    return [file.name for file in _FILES if not os.access(folder / file.name, os.R_OK)]


def _incomplete(place: str, missing: list[str]) -> DatasetError:
    return DatasetError(
        f"{place} does not hold Fashion-MNIST: missing or unreadable: {', '.join(missing)}. "
        f"{_REMEDY_MISSING}"
    )


def _download() -> tuple[Path | None, str]:
    """Lets Keras fill its cache. Returns the folder, or None and why there is none."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_CONNECT_TIMEOUT_SECONDS)
    failure = "Keras' download: it left no complete set in its cache"
    try:
        from keras.datasets import fashion_mnist

        fashion_mnist.load_data()
    except Exception as error:  # Keras raises bare Exception when a download fails.
        failure = f"Keras' download: {error}"
    finally:
        socket.setdefaulttimeout(timeout)
    # Also after an error: Keras fails on a damaged file too, and its reader names that file.
    return _search(None), failure


def _read_fashion_mnist(
    folder: Path, train_samples: int | None, test_samples: int | None
) -> Dataset:
    # Before the files are read, which takes about a second.
    _check_size("train_samples", train_samples, _TRAIN_IMAGES.shape[0])
    _check_size("test_samples", test_samples, _TEST_IMAGES.shape[0])
    train = _read_split(folder, _TRAIN_IMAGES, _TRAIN_LABELS, train_samples)
    test = _read_split(folder, _TEST_IMAGES, _TEST_LABELS, test_samples)
    digest = _joint_digest(file.digest for file in _FILES)
    return Dataset("fashion-mnist", str(folder), digest, *train, *test)


def _check_size(what: str, samples: int | None, available: int | None = None) -> None:
    if samples is not None and (samples < 1 or samples > (available or samples)):
        accepted = f"1 to {available} for Fashion-MNIST" if available else "1 or more"
        remedy = " Use --dataset synthetic for any other size." if samples > 0 else ""
        raise DatasetError(f"{what} is {samples}; accepted is {accepted}.{remedy}")


def _read_split(
    folder: Path, images_file: _IdxFile, labels_file: _IdxFile, samples: int | None
) -> tuple[UInt8Array, UInt8Array]:
    """Reads and verifies images [n, 28, 28, 1] and labels [n], then keeps the first."""
    images, images_digest = _read_idx(folder / images_file.name, images_file.shape)
    labels, labels_digest = _read_idx(folder / labels_file.name, labels_file.shape)
    if labels.size and labels.max() >= CLASSES:
        raise _damaged(
            folder / labels_file.name,
            f"holds the label {labels.max()}; accepted are 0 to {CLASSES - 1}",
        )
    if len(images) != len(labels):
        raise _damaged(
            folder / labels_file.name,
            f"holds {len(labels)} labels, but {images_file.name} holds {len(images)} images",
        )
    for file, count, found in (
        (images_file, len(images), images_digest),
        (labels_file, len(labels), labels_digest),
    ):
        if found != file.digest:
            raise _damaged(
                folder / file.name,
                f"has altered content: {count} items with SHA-256 {found}, where Fashion-MNIST "
                f"has {file.shape[0]} with SHA-256 {file.digest}",
            )
    images = images[..., np.newaxis]
    if samples is None or samples == len(images):
        return images, labels
    # Copies, because a slice would keep the whole array in memory.
    return images[:samples].copy(), labels[:samples].copy()


def _read_idx(path: Path, shape: tuple[int, ...]) -> tuple[UInt8Array, str]:
    """Reads a gzipped IDX file of unsigned bytes.

    The file is decompressed straight into the result and hashed on the way, so memory
    stays close to the size of the result, which `shape` bounds whatever the file says.

    Args:
        path: The file.
        shape: The largest first dimension accepted, and the others exactly.

    Returns:
        The array (uint8) and the SHA-256 (hex) of its bytes.

    Raises:
        DatasetError: The file is no such file, is truncated, or has another shape.
    """
    header_bytes = 4 + 4 * len(shape)
    magic = bytes((0, 0, 0x08, len(shape)))  # 0x08 is IDX for unsigned byte.
    digest = hashlib.sha256()
    try:
        with gzip.open(path) as stream:
            header = stream.read(header_bytes)
            if len(header) < header_bytes:
                raise _damaged(path, "is truncated: it ends inside the IDX header")
            if header[:4] != magic:
                raise _damaged(
                    path,
                    f"starts with {header[:4].hex()}; an IDX file of unsigned bytes in "
                    f"{len(shape)} dimensions starts with {magic.hex()}",
                )
            found = struct.unpack(f">{len(shape)}I", header[4:])
            if found[1:] != shape[1:] or found[0] > shape[0]:
                raise _damaged(path, f"says its shape is {found}; accepted is {shape}")
            array = aligned_empty(found)
            view = array.reshape(-1).data
            filled = 0
            while filled < len(view):
                count = stream.readinto(view[filled : filled + _CHUNK_BYTES])
                if not count:
                    raise _damaged(
                        path, f"is truncated: {filled} bytes of the {len(view)} its header says"
                    )
                digest.update(view[filled : filled + count])
                filled += count
            # Reading past the end also makes gzip verify its checksum.
            if stream.read(1):
                raise _damaged(path, f"is longer than the {len(view)} bytes its header says")
    except EOFError as error:
        raise _damaged(path, "is truncated: the gzip stream has no end") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(path, f"is not an intact gzip file ({error})") from error
    except OSError as error:
        raise _damaged(path, f"cannot be read ({error})") from error
    return array, digest.hexdigest()


def aligned_empty(shape: tuple[int, ...]) -> UInt8Array:
    """An empty uint8 array that starts at a multiple of `ALIGNMENT`; NumPy promises 16 bytes."""
    size = math.prod(shape)
    buffer = np.empty(size + ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % ALIGNMENT
    return buffer[start : start + size].reshape(shape)


def _damaged(path: Path, problem: str) -> DatasetError:
    return DatasetError(f"{path} {problem}. {_REMEDY_DAMAGED}")


def _joint_digest(digests: Iterable[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()


# The synthetic set. Raw PCG64 output, whose stream NumPy guarantees, and integer arithmetic
# make it bit-identical on every machine; a floating-point library function would not.
_SHIFTS = 5  # positions of a pattern along each axis
_CHUNK_IMAGES = 1_000  # a multiple of CLASSES; keeps the temporaries below 10 MB
# Per image: one word orders the classes, one gives eight choices, the rest is noise.
_WORDS = 2 + SIDE * SIDE // 8
# An image is its own class's pattern with a weight from OWN/256 and another's with a weight
# from OTHER/256. Where the weights overlap nothing tells which is which: the second is the
# larger one in 52 * 52 / 2 of 160 * 148 cases, so no model can pass 0.943 test accuracy.
_OWN = (96, 256)
_OTHER = (0, 148)
_NOISE = 96  # amplitude, in grey levels; makes the accuracy rise over several epochs


def synthetic(train_samples: int, test_samples: int, seed: int = 12) -> Dataset:
    """Generates a data set that is learnable, not trivial, and the same on every machine.

    The tutorial CNN reaches 0.85 to 0.95 test accuracy in a few epochs. The first n images
    and labels do not depend on how many are made, and every ten hold each class once.

    Args:
        train_samples: Number of training images, 1 or more.
        test_samples: Number of test images, 1 or more.
        seed: Seed of the patterns, the training and the test images, 0 or more.

    Raises:
        DatasetError: A size or the seed is out of range.
    """
    _check_size("train_samples", train_samples)
    _check_size("test_samples", test_samples)
    if seed < 0:
        raise DatasetError(f"the seed is {seed}; accepted is 0 or more.")
    patterns = _patterns(seed)
    train = _generate(patterns, np.random.PCG64([seed, 1]), train_samples)
    test = _generate(patterns, np.random.PCG64([seed, 2]), test_samples)
    digest = _joint_digest(hashlib.sha256(array.data).hexdigest() for array in (*train, *test))
    return Dataset("synthetic", "generated", digest, *train, *test)


def _patterns(seed: int) -> npt.NDArray[np.uint16]:
    """Returns the classes' patterns in every position: [10 * 25, 784], 0 to 255."""
    cells = np.random.PCG64([seed, 0]).random_raw(CLASSES * 9 * 9) >> np.uint64(56)
    canvas = cells.astype(np.int64).reshape(CLASSES, 9, 9).repeat(4, axis=1).repeat(4, axis=2)
    for axis in (1, 2):  # A mean of five pixels smooths the 36 x 36 canvas to 32 x 32.
        canvas = np.lib.stride_tricks.sliding_window_view(canvas, 5, axis).sum(axis=-1) // 5
    # About half of a pattern becomes black, like Fashion-MNIST's background.
    canvas = np.clip((canvas - 116) * 2, 0, 255)
    windows = np.lib.stride_tricks.sliding_window_view(canvas, (SIDE, SIDE), (1, 2))
    return windows.reshape(CLASSES * _SHIFTS**2, SIDE * SIDE).astype(np.uint16)


def _generate(
    patterns: npt.NDArray[np.uint16], bits: np.random.PCG64, samples: int
) -> tuple[UInt8Array, UInt8Array]:
    """Returns images [samples, 28, 28, 1] and labels [samples]."""
    images = np.empty((samples, SIDE * SIDE), np.uint8)
    labels = np.empty(samples, np.uint8)
    for start in range(0, samples, _CHUNK_IMAGES):
        count = min(_CHUNK_IMAGES, samples - start)
        # Whole groups of ten, or the last labels would depend on the size.
        words = bits.random_raw(-(-count // CLASSES) * CLASSES * _WORDS).reshape(-1, _WORDS)
        own = words[:, 0].reshape(-1, CLASSES).argsort(axis=1, kind="stable").reshape(-1)[:count]
        # Little-endian, so that the bytes come in the same order everywhere.
        octets = words[:count, 1:].astype("<u8").view(np.uint8)
        choices = octets[:, :5].astype(np.int64)
        other = (own + 1 + choices[:, 0] * (CLASSES - 1) // 256) % CLASSES
        pixels = np.zeros((count, SIDE * SIDE), np.int16)
        for index, (label, (low, high)) in enumerate(((own, _OWN), (other, _OTHER))):
            weight = low + choices[:, 1 + index] * (high - low) // 256
            position = choices[:, 3 + index] * _SHIFTS**2 // 256
            pattern = patterns[label * _SHIFTS**2 + position]
            pixels += (pattern * weight[:, np.newaxis].astype(np.uint16) >> 8).astype(np.int16)
        pixels += (octets[:, 8:].astype(np.int16) - 128) * _NOISE // 128
        images[start : start + count] = np.clip(pixels, 0, 255)
        labels[start : start + count] = own
    return images.reshape(-1, SIDE, SIDE, 1), labels
