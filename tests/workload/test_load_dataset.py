"""The data sets: where they are found, what is refused, what the synthetic one promises."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import socket
import subprocess
import sys
import tracemalloc
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cnnprec.workload import dataset, fashion_mnist, load_dataset, synthetic
from cnnprec.workload.dataset import CLASSES

PACKAGE_FOLDER = fashion_mnist._PACKAGE_FOLDER
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = (file.name for file in fashion_mnist._FILES)
MIB = 1 << 20

needs_fashion_mnist = pytest.mark.skipif(
    any(not (PACKAGE_FOLDER / file.name).is_file() for file in fashion_mnist._FILES),
    reason="needs the package: apt-get install dataset-fashion-mnist",
)


def idx(array: npt.NDArray[np.uint8], *, magic: bytes | None = None) -> bytes:
    """Returns an IDX file, not compressed."""
    dimensions = np.array(array.shape, ">u4").tobytes()
    return (magic or bytes((0, 0, 8, array.ndim))) + dimensions + array.tobytes()


def write_idx(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, compresslevel=1))


class SmallSet:
    """Twenty training and ten test images, which `data` takes for Fashion-MNIST."""

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
        files = []
        for variable in ("TRAIN_IMAGES", "_TRAIN_LABELS", "TEST_IMAGES", "_TEST_LABELS"):
            file = getattr(fashion_mnist, variable)
            array = self.arrays[file.name]
            digest = hashlib.sha256(array.tobytes()).hexdigest()
            files.append(dataclasses.replace(file, shape=array.shape, digest=digest))
            monkeypatch.setattr(fashion_mnist, variable, files[-1])
            if not variable.startswith("_"):
                monkeypatch.setattr(load_dataset, variable, files[-1])
        monkeypatch.setattr(fashion_mnist, "_FILES", tuple(files))


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


@pytest.fixture(autouse=True)
def keras(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeKeras:
    """Keeps every test off the network and off the data of the machine."""
    fake = FakeKeras()
    datasets = types.ModuleType("keras.datasets")
    datasets.fashion_mnist = fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keras", types.ModuleType("keras"))
    monkeypatch.setitem(sys.modules, "keras.datasets", datasets)
    monkeypatch.setattr(fashion_mnist, "_PACKAGE_FOLDER", tmp_path / "package")
    monkeypatch.setattr(fashion_mnist, "_KERAS_FALLBACK", tmp_path / "fallback")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv(fashion_mnist.DATA_DIR_VARIABLE, raising=False)
    return fake


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> SmallSet:
    small = SmallSet()
    small.install(monkeypatch)
    return small


# Where it is found


def test_sources_are_tried_in_the_documented_order(
    small: SmallSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keras: FakeKeras
) -> None:
    fallback = small.write(tmp_path / "fallback/datasets/fashion-mnist")
    assert load_dataset.load_dataset().source == str(fallback)
    cache = small.write(tmp_path / "keras/datasets/fashion-mnist")
    assert load_dataset.load_dataset().source == str(cache)
    package = small.write(tmp_path / "package")
    assert load_dataset.load_dataset().source == str(package)
    from_env = small.write(tmp_path / "env")
    monkeypatch.setenv("CNNPREC_DATA_DIR", str(from_env))
    assert load_dataset.load_dataset().source == str(from_env)
    given_folder = small.write(tmp_path / "given")
    assert load_dataset.load_dataset(data_dir=given_folder).source == str(given_folder)
    assert keras.calls == 0


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
    for file in fashion_mnist._FILES:
        (folder / file.name).write_bytes(b"not looked at")
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
    with pytest.raises(dataset.DatasetError, match=f"{TRAIN_IMAGES} is truncated"):
        load_dataset.load_dataset("auto")


def test_auto_falls_back_to_the_synthetic_set_where_nothing_is_found(keras: FakeKeras) -> None:
    dataset = load_dataset.load_dataset("auto", train_samples=20, test_samples=10)
    assert (dataset.name, dataset.source) == ("synthetic", "generated")
    assert keras.calls == 1


def test_fashion_mnist_names_every_place_looked_at(tmp_path: Path) -> None:
    with pytest.raises(dataset.DatasetError) as caught:
        load_dataset.load_dataset("fashion-mnist")
    for place in ("package", "keras/datasets/fashion-mnist", "fallback/datasets/fashion-mnist"):
        assert str(tmp_path / place) in str(caught.value)
    for part in ("CNNPREC_DATA_DIR", "URL fetch failure", "--data-dir", "apt-get install"):
        assert part in str(caught.value)


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
    "end cut off": (TRAIN_IMAGES, _cut(-100), "is truncated"),
    "checksum cut off": (TEST_IMAGES, _cut(-4), "is truncated"),
    "almost all cut off": (TEST_LABELS, _cut(5), "is truncated"),
    "empty file": (TRAIN_LABELS, _cut(0), "is truncated"),
    "no gzip": (TRAIN_IMAGES, lambda path: path.write_bytes(b"<html>"), "not an intact gzip"),
    "flipped checksum": (TRAIN_IMAGES, _flip(-8), "not an intact gzip"),
    "garbage at the end": (
        TRAIN_LABELS,
        lambda path: path.write_bytes(path.read_bytes() + b"garbage"),
        "not an intact gzip",
    ),
    "folder": (TRAIN_LABELS, _replace_by_folder, "cannot be read"),
    "header cut": (TEST_IMAGES, _rewrite(lambda old: old[:11]), "ends inside the IDX header"),
    "no IDX": (TEST_IMAGES, _rewrite(lambda old: b"PK" + old[2:]), "504b0803.*00000803"),
    "floats": (TRAIN_IMAGES, _rewrite(lambda old: b"\0\0\x0d\x03" + old[4:]), "00000d03"),
    "images for labels": (TEST_LABELS, _rewrite(lambda old: b"\0\0\x08\x03" + old[4:]), "00000803"),
    "27 rows": (
        TRAIN_IMAGES,
        _rewrite(lambda _: idx(np.zeros((20, 27, 28), np.uint8))),
        r"\(20, 27, 28\); accepted is \(20, 28, 28\)",
    ),
    "too many": (
        TEST_LABELS,
        _rewrite(lambda _: idx(np.zeros(11, np.uint8))),
        r"\(11,\); accepted is \(10,\)",
    ),
    "data short": (TRAIN_IMAGES, _rewrite(lambda old: old[:-1]), "truncated: 15679 bytes"),
    "data long": (TRAIN_IMAGES, _rewrite(lambda old: old + b"\0"), "longer than the 15680 bytes"),
    "label 10": (TRAIN_LABELS, _rewrite(lambda old: old[:-1] + b"\x0a"), "holds the label 10"),
    "counts differ": (
        TEST_LABELS,
        _rewrite(lambda _: idx(np.zeros(9, np.uint8))),
        "holds 9 labels, but .* holds 10 images",
    ),
    "altered image": (
        TEST_IMAGES,
        _rewrite(lambda old: old[:-1] + bytes((old[-1] ^ 1,))),
        "altered content: 10 items with SHA-256 [0-9a-f]{64}, .* 10 with SHA-256 [0-9a-f]{64}",
    ),
    "altered label": (
        TRAIN_LABELS,
        _rewrite(lambda old: old[:-1] + b"\x00"),
        "altered content: 20 items",
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
    with pytest.raises(dataset.DatasetError, match=r"20 items .* where Fashion-MNIST has 60000"):
        load_dataset.load_dataset(data_dir=folder)


@pytest.mark.parametrize("content", ["claims much", "holds much"])
def test_memory_is_bounded_whatever_the_file_says(content: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    if content == "claims much":
        write_idx(path, b"\0\0\x08\x03" + b"\xff" * 4 + bytes((0, 0, 0, 28)) * 2)
    else:
        header = idx(np.zeros((1, 28, 28), np.uint8))
        write_idx(path, header + bytes(64 * MIB))
    tracemalloc.start()
    try:
        with pytest.raises(dataset.DatasetError):
            fashion_mnist._read_idx(path, (60_000, 28, 28))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # gzip's own buffers are far below 2 MiB; 64 MiB decompressed would be far above.
    assert peak < 2 * MIB


@pytest.mark.parametrize("samples", [0, -1, 21])
def test_more_samples_than_there_are_is_an_error(
    samples: int, small: SmallSet, tmp_path: Path
) -> None:
    folder = small.write(tmp_path / "given")
    with pytest.raises(
        dataset.DatasetError, match=f"train_samples is {samples}; accepted is 1 to 20"
    ):
        load_dataset.load_dataset(data_dir=folder, train_samples=samples)
    with pytest.raises(dataset.DatasetError, match="test_samples is 11; accepted is 1 to 10"):
        load_dataset.load_dataset(data_dir=folder, test_samples=11)


def test_unknown_choice_is_an_error_that_lists_the_choices() -> None:
    with pytest.raises(dataset.DatasetError, match=r"'mnist'.*'auto', .*'synthetic'"):
        load_dataset.load_dataset("mnist")


# What is read


def test_first_samples_are_kept_and_the_digest_covers_the_whole_set(
    small: SmallSet, tmp_path: Path
) -> None:
    folder = small.write(tmp_path / "given")
    whole = load_dataset.load_dataset(data_dir=folder)
    part = load_dataset.load_dataset(data_dir=folder, train_samples=7, test_samples=10)
    assert whole.train_images.shape == (20, 28, 28, 1)
    assert whole.test_labels.tolist() == list(range(10))
    np.testing.assert_array_equal(part.train_images[..., 0], small.arrays[TRAIN_IMAGES][:7])
    np.testing.assert_array_equal(part.train_labels, small.arrays[TRAIN_LABELS][:7])
    np.testing.assert_array_equal(part.test_images[..., 0], small.arrays[TEST_IMAGES])
    assert part.digest == whole.digest
    assert part.train_images.base is None  # A view would keep the whole array in memory.


def test_data_sets_are_read_only_and_compare_without_error() -> None:
    dataset = synthetic.synthetic(10, 10)
    assert dataset == dataset  # A generated __eq__ would raise for arrays.
    assert dataset != synthetic.synthetic(10, 10)
    assert len({dataset}) == 1
    assert dataset.train_labels.max() < CLASSES == 10
    with pytest.raises(ValueError, match="read-only"):
        dataset.train_images[0] = 0


@settings(deadline=None, max_examples=50)  # Writing files has no steady pace.
@given(array=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=9)))
@example(array=np.zeros((0, 3, 3), np.uint8))
def test_idx_reader_returns_what_was_written(
    array: npt.NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.gz"
    write_idx(path, idx(array))
    found, digest = fashion_mnist._read_idx(path, (9, *array.shape[1:]))
    np.testing.assert_array_equal(found, array)
    assert found.dtype == np.uint8
    assert digest == hashlib.sha256(array.tobytes()).hexdigest()


def test_idx_reader_takes_files_of_several_gzip_members(tmp_path: Path) -> None:
    array = np.arange(200, dtype=np.uint8)
    content = idx(array)
    path = tmp_path / "members.gz"
    path.write_bytes(gzip.compress(content[:50]) + gzip.compress(content[50:]))
    np.testing.assert_array_equal(fashion_mnist._read_idx(path, (200,))[0], array)


def test_decoding_needs_little_more_memory_than_its_result(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    write_idx(path, idx(np.zeros((20_000, 28, 28), np.uint8)))
    tracemalloc.start()
    try:
        array, _ = fashion_mnist._read_idx(path, (20_000, 28, 28))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # A chunk of 256 KiB, its copy inside gzip and gzip's input buffer, with room to spare;
    # a second copy of the result would be 15 MiB.
    assert peak < array.nbytes + 2 * MIB


@needs_fashion_mnist
def test_fashion_mnist_of_the_debian_package_is_read(keras: FakeKeras) -> None:
    tracemalloc.start()
    try:
        dataset = load_dataset.load_dataset("fashion-mnist", data_dir=PACKAGE_FOLDER)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (dataset.name, dataset.source) == ("fashion-mnist", str(PACKAGE_FOLDER))
    # Over the four pinned digests: what `Dataset.digest` promises.
    assert dataset.digest == "bc3b3a15d36c7b485ea35263b0681ebe33e6cccf024eff3445151fc798c21887"
    assert dataset.train_images.shape == (60_000, 28, 28, 1)
    assert dataset.test_images.shape == (10_000, 28, 28, 1)
    for array in (dataset.train_images, dataset.test_images):
        assert array.dtype == np.uint8
        assert (array.min(), array.max()) == (0, 255)
    for labels, count in ((dataset.train_labels, 6_000), (dataset.test_labels, 1_000)):
        assert labels.dtype == np.uint8
        assert np.bincount(labels).tolist() == [count] * 10
    assert dataset.train_labels[:5].tolist() == [9, 0, 0, 3, 0]
    result = dataset.train_images.nbytes + dataset.test_images.nbytes
    # The labels are 70 kB; the rest is as in the test above.
    assert peak < result + 2 * MIB
    assert keras.calls == 0


@needs_fashion_mnist
def test_short_training_set_frees_the_whole_one() -> None:
    tracemalloc.start()
    try:
        dataset = load_dataset.load_dataset(data_dir=PACKAGE_FOLDER, train_samples=3_200)
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    # 1 MiB for the labels and small objects; the whole training set is 45 MiB.
    assert kept < dataset.train_images.nbytes + dataset.test_images.nbytes + MIB


def test_import_does_not_import_tensorflow_or_keras() -> None:
    code = (
        "import sys, cnnprec.workload.load_dataset;"
        "sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, check=False)
    assert done.returncode == 0


# The synthetic set


def test_synthetic_set_has_the_pinned_content() -> None:
    # Computed once, with NumPy 2.4 on x86-64. Other machines and versions must agree; a change
    # here makes every saved baseline of the synthetic set worthless.
    assert synthetic.synthetic(1_010, 30).digest == (
        "71986e15c85673655712ecb103cd34b509618978434232daea6d3eaa4c246243"
    )
    assert synthetic.synthetic(10, 10).train_labels.tolist() == [8, 6, 2, 5, 3, 0, 4, 7, 1, 9]


def test_synthetic_set_mirrors_the_sizes_of_fashion_mnist() -> None:
    tracemalloc.start()
    try:
        dataset = load_dataset.load_dataset("synthetic")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert dataset.train_images.shape == (60_000, 28, 28, 1)
    assert dataset.test_images.shape == (10_000, 28, 28, 1)
    # A chunk of 1,000 images has 0.8 million pixels; its temporaries hold about ten bytes of
    # each. All 60,000 at once would hold 450 MiB.
    assert peak < dataset.train_images.nbytes + dataset.test_images.nbytes + 12 * MIB


def test_synthetic_choice_looks_nowhere(small: SmallSet, tmp_path: Path, keras: FakeKeras) -> None:
    small.write(tmp_path / "package")
    dataset = load_dataset.load_dataset(
        "synthetic", data_dir=tmp_path, train_samples=20, test_samples=5
    )
    assert dataset.name == "synthetic"
    assert len(dataset.train_images) == 20
    assert keras.calls == 0


sizes = st.integers(1, 60)
seeds = st.integers(0, 2**64)


@settings(deadline=None, max_examples=25)
@given(train=sizes, test=sizes, seed=seeds)
@example(train=999, test=1, seed=0)
@example(train=1_001, test=1_000, seed=12)
def test_synthetic_sets_are_determined_balanced_and_well_formed(
    train: int, test: int, seed: int
) -> None:
    dataset = synthetic.synthetic(train, test, seed)
    assert dataset.digest == synthetic.synthetic(train, test, seed).digest
    for images, labels, count in (
        (dataset.train_images, dataset.train_labels, train),
        (dataset.test_images, dataset.test_labels, test),
    ):
        assert images.shape == (count, 28, 28, 1)
        assert labels.shape == (count,)
        assert images.dtype == labels.dtype == np.uint8
        whole = labels[: count // 10 * 10].reshape(-1, 10)
        assert (np.sort(whole) == np.arange(10)).all()
        assert len(set(labels[count // 10 * 10 :].tolist())) == count % 10


@settings(deadline=None, max_examples=25)
@given(short=sizes, more=sizes, seed=seeds)
@example(short=997, more=50, seed=12)
@example(short=1_000, more=1, seed=12)
def test_first_images_do_not_depend_on_how_many_are_made(short: int, more: int, seed: int) -> None:
    one = synthetic.synthetic(short, 1, seed)
    other = synthetic.synthetic(short + more, more, seed)
    np.testing.assert_array_equal(one.train_images, other.train_images[:short])
    np.testing.assert_array_equal(one.train_labels, other.train_labels[:short])
    np.testing.assert_array_equal(one.test_images, other.test_images[:1])


def test_seeds_and_splits_give_different_images() -> None:
    one, other = synthetic.synthetic(20, 20, seed=1), synthetic.synthetic(20, 20, seed=2)
    assert one.digest != other.digest
    assert (one.train_images != other.train_images).any()
    assert (one.train_images != one.test_images).any()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((0, 1), "train_samples is 0; accepted is 1 or more"),
        ((1, -3), "test_samples is -3; accepted is 1 or more"),
        ((1, 1, -1), "the seed is -1; accepted is 0 or more"),
    ],
)
def test_sizes_and_seeds_out_of_range_are_errors(arguments: tuple[int, ...], problem: str) -> None:
    with pytest.raises(dataset.DatasetError, match=problem):
        synthetic.synthetic(*arguments)


def test_synthetic_set_is_learnable_but_not_trivial() -> None:
    """An observer who knows every pattern takes the best match, as a good model would."""
    dataset = synthetic.synthetic(10, 2_000)
    patterns = synthetic._patterns(12).astype(np.float64)
    patterns -= patterns.mean(axis=1, keepdims=True)
    patterns /= np.linalg.norm(patterns, axis=1, keepdims=True)
    scores = dataset.test_images.reshape(2_000, -1) @ patterns.T
    accuracy = (scores.argmax(axis=1) // synthetic._SHIFTS**2 == dataset.test_labels).mean()
    # 0.943 is the ceiling that the overlap of the weights leaves; four standard errors of
    # 2,000 draws are 0.021. Matching one pattern at a time is not optimal, so below it only
    # the range asked of a trained model counts.
    assert 0.85 < accuracy < 0.943 + 0.021
