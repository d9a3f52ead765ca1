"""Loading a data set by its name: which is taken, and what is refused."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from cnnprec.workload import dataset, fashion_mnist, load_dataset
from tests.support.fashion_mnist import (
    MIB,
    TEST_IMAGES,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    FakeKeras,
    SmallSet,
)

PACKAGE_FOLDER = fashion_mnist._PACKAGE_FOLDER


needs_fashion_mnist = pytest.mark.skipif(
    any(not (PACKAGE_FOLDER / name).is_file() for name in fashion_mnist._FILES),
    reason="needs the package: apt-get install dataset-fashion-mnist",
)


# No test reaches the network or the data of the machine.
pytestmark = pytest.mark.usefixtures("keras")


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
    # A copy of the larger set while it is verified; labels and buffers take less than 2 MiB.
    assert peak < result + dataset.train_images.nbytes + 2 * MIB
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
