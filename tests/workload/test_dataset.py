"""What every data set promises."""

from __future__ import annotations

import pytest

from cnnprec.workload import synthetic
from cnnprec.workload.dataset import CLASSES


def test_data_sets_are_read_only_and_compare_without_error() -> None:
    dataset = synthetic.synthetic(10, 10)
    assert dataset == dataset  # A generated __eq__ would raise for arrays.
    assert dataset != synthetic.synthetic(10, 10)
    assert len({dataset}) == 1
    assert dataset.train_labels.max() < CLASSES == 10
    with pytest.raises(ValueError, match="read-only"):
        dataset.train_images[0] = 0
