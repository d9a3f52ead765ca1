"""Fashion-MNIST: where it is found, what is refused, what is read."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import socket
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis.extra import numpy as hnp

from cnnprec.workload import dataset, fashion_mnist, load_dataset
from tests.support.fashion_mnist import (
    MIB,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    FakeKeras,
    SmallSet,
    idx,
    write_idx,
)

# No test reaches the network or the data of the machine.
pytestmark = pytest.mark.usefixtures("keras")


# Where it is found


def test_keras_cache_lies_in_the_home_folder_without_keras_home(
    small: SmallSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    cache = small.write(tmp_path / ".keras/datasets/fashion-mnist")
    assert load_dataset.load_dataset("fashion-mnist").source == str(cache)


def test_empty_environment_variable_counts_as_not_set(
    small: SmallSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = small.write(tmp_path / "package")
    monkeypatch.setenv("CNNPREC_DATA_DIR", "")
    assert load_dataset.load_dataset().source == str(package)


def test_locating_names_the_folder_that_loading_reads(small: SmallSet, tmp_path: Path) -> None:
    assert fashion_mnist.locate_fashion_mnist(None) is None
    package = small.write(tmp_path / "package")
    assert fashion_mnist.locate_fashion_mnist(None) == package
    assert fashion_mnist.locate_fashion_mnist(tmp_path / "absent") is None
    given_folder = small.write(tmp_path / "given")
    assert fashion_mnist.locate_fashion_mnist(given_folder) == given_folder


def test_locating_reads_no_file(tmp_path: Path, keras: FakeKeras) -> None:
    folder = tmp_path / "package"
    folder.mkdir()
    for name in fashion_mnist._FILES:
        (folder / name).write_bytes(b"not looked at")
    assert fashion_mnist.locate_fashion_mnist(None) == folder
    assert keras.calls == 0


@pytest.mark.parametrize("choice", ["auto", "fashion-mnist"])
@pytest.mark.parametrize("origin", ["--data-dir", "CNNPREC_DATA_DIR"])
def test_folder_asked_for_is_never_skipped(
    choice: str,
    origin: str,
    small: SmallSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keras: FakeKeras,
) -> None:
    small.write(tmp_path / "package")
    folder = tmp_path / "asked"
    if origin == "CNNPREC_DATA_DIR":
        monkeypatch.setenv(origin, str(folder))
    data_dir = folder if origin == "--data-dir" else None
    with pytest.raises(dataset.DatasetError) as absent:
        load_dataset.load_dataset(choice, data_dir=data_dir)
    small.write(folder)
    (folder / TEST_LABELS).unlink()
    (folder / TRAIN_IMAGES).unlink()
    with pytest.raises(dataset.DatasetError) as incomplete:
        load_dataset.load_dataset(choice, data_dir=data_dir)
    for message in (str(absent.value), str(incomplete.value)):
        for part in (str(folder), origin, TEST_LABELS, TRAIN_IMAGES):
            assert part in message
        assert "apt-get install dataset-fashion-mnist" in message
    assert TRAIN_LABELS in str(absent.value)
    assert TRAIN_LABELS not in str(incomplete.value)
    assert keras.calls == 0


def test_incomplete_package_is_an_error(small: SmallSet, tmp_path: Path) -> None:
    small.write(tmp_path / "keras/datasets/fashion-mnist")
    package = small.write(tmp_path / "package")
    (package / TRAIN_LABELS).unlink()
    with pytest.raises(dataset.DatasetError, match=f"package.*{TRAIN_LABELS}"):
        load_dataset.load_dataset("auto")
    assert fashion_mnist.locate_fashion_mnist(None) is None


# Keras' download


def test_download_completes_the_cache_and_is_verified(
    small: SmallSet, tmp_path: Path, keras: FakeKeras
) -> None:
    cache = small.write(tmp_path / "keras/datasets/fashion-mnist")
    (cache / TEST_IMAGES).unlink()  # As an interrupted download leaves it.
    keras.action = lambda: small.write(cache)
    assert load_dataset.load_dataset("auto").source == str(cache)
    assert keras.calls == 1


@pytest.mark.parametrize("works", [True, False])
def test_download_has_a_short_timeout_which_is_taken_back(
    works: bool, small: SmallSet, tmp_path: Path, keras: FakeKeras
) -> None:
    if works:
        keras.action = lambda: small.write(tmp_path / "keras/datasets/fashion-mnist")
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(77.0)
    try:
        load_dataset.load_dataset("auto", train_samples=10, test_samples=10)
        after = socket.getdefaulttimeout()
    finally:
        socket.setdefaulttimeout(before)
    # 10 s: what a person at a terminal still takes for a start and not for a hang.
    assert keras.timeout is not None
    assert 0 < keras.timeout <= 10
    assert after == 77.0


def test_damaged_download_is_an_error_that_names_the_file(
    small: SmallSet, tmp_path: Path, keras: FakeKeras
) -> None:
    def download() -> None:
        cache = small.write(tmp_path / "keras/datasets/fashion-mnist")
        path = cache / TRAIN_IMAGES
        path.write_bytes(path.read_bytes()[:-9])
        raise EOFError("as Keras' own reader does")

    keras.action = download
    with pytest.raises(dataset.DatasetError, match=f"{TRAIN_IMAGES} cannot be read: "):
        load_dataset.load_dataset("auto")


def test_download_that_leaves_nothing_is_no_success(keras: FakeKeras) -> None:
    keras.action = lambda: None
    with pytest.raises(dataset.DatasetError, match="left no complete set"):
        load_dataset.load_dataset("fashion-mnist")


def test_missing_keras_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras.datasets", None)
    with pytest.raises(dataset.DatasetError, match=r"Keras' download: .*keras\.datasets"):
        load_dataset.load_dataset("fashion-mnist")


# What is refused


def _cut(count: int) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(path.read_bytes()[:count])


def _rewrite(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda path: write_idx(path, change(gzip.decompress(path.read_bytes())))


def _flip(position: int) -> Callable[[Path], object]:
    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[position] ^= 0xFF
        path.write_bytes(content)

    return damage


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "end cut off": (TRAIN_IMAGES, _cut(-100), "end-of-stream"),
    "checksum cut off": (TEST_IMAGES, _cut(-4), "end-of-stream"),
    "almost all cut off": (TEST_LABELS, _cut(5), "end-of-stream"),
    "empty file": (TRAIN_LABELS, _cut(0), "its first 0 bytes"),
    "no gzip": (TRAIN_IMAGES, lambda path: path.write_bytes(b"<html>"), "Not a gzipped file"),
    "flipped checksum": (TRAIN_IMAGES, _flip(-8), "CRC check failed"),
    "garbage at the end": (
        TRAIN_LABELS,
        lambda path: path.write_bytes(path.read_bytes() + b"garbage"),
        "Not a gzipped file",
    ),
    "folder": (TRAIN_LABELS, _replace_by_folder, "cannot be read"),
    "header cut": (
        TEST_IMAGES,
        _rewrite(lambda old: old[:11]),
        "altered content: its first 0 bytes",
    ),
    "27 rows": (
        TRAIN_IMAGES,
        _rewrite(lambda _: idx(np.zeros((20, 27, 28), np.uint8))),
        "altered content: its first 15120 bytes .* 15680 have",
    ),
    "too many": (
        TEST_LABELS,
        _rewrite(lambda _: idx(np.zeros(11, np.uint8))),
        "altered content: its first 11 bytes",
    ),
    "data short": (TRAIN_IMAGES, _rewrite(lambda old: old[:-1]), "first 15679 bytes"),
    "data long": (TRAIN_IMAGES, _rewrite(lambda old: old + b"\0"), "first 15681 bytes"),
    "label 10": (TRAIN_LABELS, _rewrite(lambda old: old[:-1] + b"\x0a"), "first 20 bytes"),
    "counts differ": (
        TEST_LABELS,
        _rewrite(lambda _: idx(np.zeros(9, np.uint8))),
        "altered content: its first 9 bytes",
    ),
    "altered image": (
        TEST_IMAGES,
        _rewrite(lambda old: old[:-1] + bytes((old[-1] ^ 1,))),
        "first 7840 bytes have SHA-256 [0-9a-f]{64}, .* 7840 have [0-9a-f]{64}",
    ),
    "altered label": (
        TRAIN_LABELS,
        _rewrite(lambda old: old[:-1] + b"\x00"),
        "altered content: its first 20 bytes",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.parametrize("choice", ["auto", "fashion-mnist"])
def test_damaged_file_is_an_error_that_names_it(
    choice: str, name: str, small: SmallSet, tmp_path: Path
) -> None:
    file, damage, problem = DAMAGES[name]
    package = small.write(tmp_path / "package")
    small.write(tmp_path / "keras/datasets/fashion-mnist")  # Must not be taken in its place.
    damage(package / file)
    with pytest.raises(dataset.DatasetError, match=problem) as caught:
        load_dataset.load_dataset(choice)
    assert str(package / file) in str(caught.value)
    assert "--reinstall dataset-fashion-mnist" in str(caught.value)


def test_set_of_the_right_form_that_is_not_fashion_mnist_is_refused(tmp_path: Path) -> None:
    folder = SmallSet().write(tmp_path / "other")
    with pytest.raises(dataset.DatasetError, match=r"Fashion-MNIST's 47040000 have"):
        load_dataset.load_dataset(data_dir=folder)


# What is read


def read(path: Path, array: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Reads a file that should hold the array."""
    digest = hashlib.sha256(array.tobytes()).hexdigest()
    return fashion_mnist._read_intact(path, array.shape, digest)


@settings(deadline=None, max_examples=50)  # Writing files has no steady pace.
@given(array=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=9)))
@example(array=np.zeros((0, 3, 3), np.uint8))
def test_reader_returns_what_was_written(
    array: npt.NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.gz"
    write_idx(path, idx(array))
    found = read(path, array)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == np.uint8


def test_reader_takes_files_of_several_gzip_members(tmp_path: Path) -> None:
    array = np.arange(200, dtype=np.uint8)
    content = idx(array)
    path = tmp_path / "members.gz"
    path.write_bytes(gzip.compress(content[:50]) + gzip.compress(content[50:]))
    np.testing.assert_array_equal(read(path, array), array)


@pytest.mark.parametrize("more", [0, 64 * MIB])
def test_reading_needs_one_copy_of_its_result_however_long_the_file_is(
    more: int, tmp_path: Path
) -> None:
    path = tmp_path / "images.gz"
    array = np.zeros((20_000, 28, 28), np.uint8)
    write_idx(path, idx(array) + bytes(more))
    tracemalloc.start()
    try:
        with pytest.raises(dataset.DatasetError) if more else contextlib.nullcontext():
            read(path, array)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Gzip's buffers take less than 2 MiB.
    assert peak < 2 * array.nbytes + 2 * MIB
