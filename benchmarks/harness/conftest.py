"""What the benchmarks of the suite itself share."""

from collections.abc import Callable

import pytest

from cnnprec.pytest_plugin.session import Session
from cnnprec.workload.dataset import Dataset
from cnnprec.workload.load_dataset import load_dataset
from cnnprec.workload.profiles import TrainingConfig


@pytest.fixture
def load(suite: Session) -> Callable[[TrainingConfig], Dataset]:
    """Loads as many images as a config asks for, from where the options say."""

    def images(config: TrainingConfig) -> Dataset:
        samples = {"train_samples": config.train_samples, "test_samples": config.test_samples}
        return load_dataset(suite.dataset_choice, data_dir=suite.data_dir, **samples)

    return images
