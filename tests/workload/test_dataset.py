"""What every data set promises."""

from __future__ import annotations

import numpy as np
import pytest

from cnnprec.workload import synthetic
from cnnprec.workload.dataset import ALIGNMENT, CLASSES, aligned_empty


def test_data_sets_are_read_only_and_compare_without_error() -> None:
    dataset = synthetic.synthetic(10, 10)
    assert dataset == dataset  # A generated __eq__ would raise for arrays.
    assert dataset != synthetic.synthetic(10, 10)
    assert len({dataset}) == 1
    assert dataset.train_labels.max() < CLASSES == 10
    with pytest.raises(ValueError, match="read-only"):
        dataset.train_images[0] = 0


@pytest.mark.parametrize("shape", [(1,), (3, 28, 28, 1), (997,)])
def test_aligned_array_starts_where_tensorflow_needs_no_copy(shape: tuple[int, ...]) -> None:
    arrays = [aligned_empty(shape) for _ in range(5)]
    for array in arrays:
        assert (array.shape, array.dtype) == (shape, np.uint8)
        assert array.ctypes.data % ALIGNMENT == 0
        assert array.flags.c_contiguous
