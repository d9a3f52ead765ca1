"""Fashion-MNIST (Xiao, Rasul and Vollgraf, arXiv:1708.07747): finding and reading its files.

Every file is verified. A source that is there but damaged is an error; no other is taken then.
"""

import dataclasses
import gzip
import hashlib
import math
import os
import socket
import zlib
from pathlib import Path

import numpy as np

from cnnprec.files import open_regular
from cnnprec.workload.dataset import (
    SIDE,
    Dataset,
    DatasetError,
    UInt8Array,
    aligned_empty,
    check_size,
    joint_digest,
)

DATA_DIR_VARIABLE = "CNNPREC_DATA_DIR"
_PACKAGE_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_KERAS_SUBFOLDER = Path("datasets", "fashion-mnist")
# Where Keras puts its cache when the home folder cannot be written.
_KERAS_FALLBACK = Path("/tmp/.keras")  # noqa: S108 - Keras' choice; all that is read is verified
_CONNECT_TIMEOUT_SECONDS = 5.0  # without a network nobody waits minutes for the synthetic set

REMEDY_MISSING = (
    "Install the package of Debian and Ubuntu (apt-get install dataset-fashion-mnist), give a "
    f"folder that holds all four files with --data-dir or {DATA_DIR_VARIABLE}, or use "
    "--dataset synthetic."
)
_REMEDY_DAMAGED = (
    "Put an intact copy in its place (in the Debian package's folder: apt-get install "
    "--reinstall dataset-fashion-mnist; in the Keras cache: delete the file and run again), or "
    "use --dataset synthetic."
)


@dataclasses.dataclass(frozen=True)
class _IdxFile:
    """One gzipped IDX file: its name, its shape, the SHA-256 of its decoded array."""

    name: str
    shape: tuple[int, ...]
    digest: str


# The digests were taken from Debian's package dataset-fashion-mnist 0.0~git20200523.55506a9-1
# as "gzip -dc FILE | tail -c +17 | sha256sum" (labels: "tail -c +9"), that is without the header.
TRAIN_IMAGES = _IdxFile(
    "train-images-idx3-ubyte.gz",
    (60_000, SIDE, SIDE),
    "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
)
_TRAIN_LABELS = _IdxFile(
    "train-labels-idx1-ubyte.gz",
    (60_000,),
    "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
)
TEST_IMAGES = _IdxFile(
    "t10k-images-idx3-ubyte.gz",
    (10_000, SIDE, SIDE),
    "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
)
_TEST_LABELS = _IdxFile(
    "t10k-labels-idx1-ubyte.gz",
    (10_000,),
    "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
)
_FILES = (TRAIN_IMAGES, _TRAIN_LABELS, TEST_IMAGES, _TEST_LABELS)


def locate_fashion_mnist(data_dir: Path | None) -> Path | None:
    """The local folder that `load_dataset` would read, or None; nothing is read for it."""
    try:
        return find_fashion_mnist(data_dir)
    except DatasetError:
        return None


def find_fashion_mnist(data_dir: Path | None) -> Path | None:
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
    return next((folder for folder in usual_folders() if not _missing(folder)), None)


def usual_folders() -> tuple[Path, ...]:
    """Where the files are looked for when no folder was named."""
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
        f"{REMEDY_MISSING}"
    )


def download_fashion_mnist() -> tuple[Path | None, str]:
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
    return find_fashion_mnist(None), failure


def read_fashion_mnist(
    folder: Path, train_samples: int | None, test_samples: int | None
) -> Dataset:
    """Reads and verifies the four files of a folder, and keeps the first images of each set."""
    # Before the files are read, which takes about a second.
    check_size("train_samples", train_samples, TRAIN_IMAGES.shape[0])
    check_size("test_samples", test_samples, TEST_IMAGES.shape[0])
    train = _read_split(folder, TRAIN_IMAGES, _TRAIN_LABELS, train_samples)
    test = _read_split(folder, TEST_IMAGES, _TEST_LABELS, test_samples)
    digest = joint_digest(file.digest for file in _FILES)
    return Dataset("fashion-mnist", str(folder), digest, *train, *test)


def _read_split(
    folder: Path, images_file: _IdxFile, labels_file: _IdxFile, samples: int | None
) -> tuple[UInt8Array, UInt8Array]:
    """Reads and verifies images [n, 28, 28, 1] and labels [n], then keeps the first."""
    images = _read_intact(folder, images_file)[..., np.newaxis]
    labels = _read_intact(folder, labels_file)
    if samples is None or samples == len(images):
        return images, labels
    # Copies, because a slice would keep the whole array in memory.
    return images[:samples].copy(), labels[:samples].copy()


def _read_intact(folder: Path, file: _IdxFile) -> UInt8Array:
    """Reads and verifies a gzipped IDX file of unsigned bytes."""
    path, size = folder / file.name, math.prod(file.shape)
    header = 4 + 4 * len(file.shape)  # which only says what must be
    try:
        with open_regular(path) as raw, gzip.open(raw) as stream:
            # Reading past the end makes gzip verify its checksum.
            content = memoryview(stream.read(header + size + 1))[header:]
    except (EOFError, OSError, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read: {error}. {_REMEDY_DAMAGED}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.digest:
        raise DatasetError(
            f"{path} has altered content: its first {len(content)} bytes have SHA-256 {digest}, "
            f"Fashion-MNIST's {size} have {file.digest}. {_REMEDY_DAMAGED}"
        )
    array = aligned_empty(file.shape)
    array.reshape(-1)[:] = np.frombuffer(content, np.uint8)
    return array
