"""Fashion-MNIST (Xiao, Rasul and Vollgraf, arXiv:1708.07747): finding and reading its files.

Every file is verified. A source that is there but damaged is an error; no other is taken then.
"""

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

TRAIN_SIZE, TEST_SIZE = 60_000, 10_000  # images
# SHA-256 of the decoded arrays. Taken from Debian's package
# dataset-fashion-mnist 0.0~git20200523.55506a9-1 as "gzip -dc FILE | tail -c +17 | sha256sum"
# (labels: "tail -c +9"), that is without the header.
_FILES = {
    "train-images-idx3-ubyte.gz": "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",  # noqa: E501
    "train-labels-idx1-ubyte.gz": "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",  # noqa: E501
    "t10k-images-idx3-ubyte.gz": "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
    "t10k-labels-idx1-ubyte.gz": "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
}


def locate_fashion_mnist(data_dir: Path | None) -> Path | None:
    """The local folder that `load_dataset` would read, or None; nothing is read for it."""
    try:
        return find_fashion_mnist(data_dir)
    except DatasetError:
        return None


def find_fashion_mnist(data_dir: Path | None) -> Path | None:
    """Finds the first folder with all four files; the folder asked for is a must."""
    asked = data_dir or os.environ.get(DATA_DIR_VARIABLE)
    folder = Path(asked or _PACKAGE_FOLDER).expanduser()
    missing = _missing(folder)
    # A package in pieces is damaged. A Keras cache in pieces is a download to be finished.
    if missing and (asked or len(missing) < len(_FILES)):
        origin = f" (from {'--data-dir' if data_dir else f'${DATA_DIR_VARIABLE}'})" if asked else ""
        raise DatasetError(
            f"{folder}{origin} does not hold Fashion-MNIST: missing or unreadable: "
            f"{', '.join(missing)}. {REMEDY_MISSING}"
        )
    folders = (folder,) if asked else usual_folders()
    return next((folder for folder in folders if not _missing(folder)), None)


def usual_folders() -> tuple[Path, ...]:
    """Where the files are looked for when no folder was named."""
    # Not Path.home(): it raises where the user has no home, as in many containers.
    keras = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")  # noqa: PTH111
    caches = (Path(keras).expanduser(), _KERAS_FALLBACK)
    return (_PACKAGE_FOLDER, *(cache / "datasets" / "fashion-mnist" for cache in caches))


def _missing(folder: Path) -> list[str]:
    # os.access answers False, where Path.is_file raises, for folders that may not be entered.
    return [name for name in _FILES if not os.access(folder / name, os.R_OK)]


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
    check_size("train_samples", train_samples, TRAIN_SIZE)
    check_size("test_samples", test_samples, TEST_SIZE)
    arrays = []
    for name, digest in _FILES.items():
        train, images = name.startswith("train"), "images" in name
        size, samples = (TRAIN_SIZE, train_samples) if train else (TEST_SIZE, test_samples)
        array = _read_intact(folder / name, (size, SIDE, SIDE) if images else (size,), digest)
        array = array[..., np.newaxis] if images else array
        # A copy, because a slice would keep the whole array in memory.
        arrays.append(array if samples in (None, size) else array[:samples].copy())
    return Dataset("fashion-mnist", str(folder), joint_digest(_FILES.values()), *arrays)


def _read_intact(path: Path, shape: tuple[int, ...], digest: str) -> UInt8Array:
    """Reads and verifies a gzipped IDX file of unsigned bytes."""
    size = math.prod(shape)
    header = 4 + 4 * len(shape)  # which only says what must be
    try:
        with open_regular(path) as raw, gzip.open(raw) as stream:
            # Reading past the end makes gzip verify its checksum.
            content = memoryview(stream.read(header + size + 1))[header:]
    except (EOFError, OSError, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read: {error}. {_REMEDY_DAMAGED}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise DatasetError(
            f"{path} has altered content: its first {len(content)} bytes have SHA-256 {found}, "
            f"Fashion-MNIST's {size} have {digest}. {_REMEDY_DAMAGED}"
        )
    array = aligned_empty(shape)
    array.reshape(-1)[:] = np.frombuffer(content, np.uint8)
    return array
