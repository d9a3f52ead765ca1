"""The images a run trains on: Fashion-MNIST from wherever it lies, or the synthetic set."""

from pathlib import Path

from cnnprec.workload import fashion_mnist as files
from cnnprec.workload.dataset import Dataset, DatasetError
from cnnprec.workload.synthetic import synthetic

DATASET_CHOICES = ("auto", "fashion-mnist", "synthetic")


def load_dataset(
    choice: str = "auto",
    *,
    data_dir: Path | None = None,
    train_samples: int | None = None,
    test_samples: int | None = None,
) -> Dataset:
    """Loads Fashion-MNIST or generates the synthetic set.

    Fashion-MNIST is looked for in the folder given, ``$CNNPREC_DATA_DIR``, the folder of Debian's
    package ``dataset-fashion-mnist`` and the Keras cache, and then downloaded by Keras.

    Args:
        choice: ``"fashion-mnist"``; ``"synthetic"``; or ``"auto"``: Fashion-MNIST, and the
            synthetic set where no source of it exists.
        data_dir: Folder with Fashion-MNIST's four ``.gz`` files. No other is looked at then.
        train_samples: How many images to keep or to make, the first ones; None is 60,000.
        test_samples: The same for the test images; None is 10,000.

    Raises:
        DatasetError: A choice or size is not accepted, a folder that was asked for is incomplete,
            a file is damaged, or ``"fashion-mnist"`` was found nowhere.
    """
    if choice not in DATASET_CHOICES:
        raise DatasetError(f"unknown dataset {choice!r}; choose one of {DATASET_CHOICES}.")
    if choice != "synthetic":
        folder = files.find_fashion_mnist(data_dir)
        failure = ""
        if folder is None:
            folder, failure = files.download_fashion_mnist()
        if folder is not None:
            return files.read_fashion_mnist(folder, train_samples, test_samples)
        if choice == "fashion-mnist":
            unset = ("--data-dir (not given)", f"${files.DATA_DIR_VARIABLE} (not set)")
            places = "".join(f"\n  {place}" for place in (*unset, *files.usual_folders(), failure))
            raise DatasetError(
                f"Fashion-MNIST was not found. Looked at:{places}\n{files.REMEDY_MISSING}"
            )
    # As many images as Fashion-MNIST has, so that times can be compared.
    return synthetic(
        files.TRAIN_SIZE if train_samples is None else train_samples,
        files.TEST_SIZE if test_samples is None else test_samples,
    )
