"""The main job: the time of training the tutorial CNN in every precision."""

from collections.abc import Callable

import pytest

from cnnprec.precision.precisions import Precision
from cnnprec.records.record import Record


@pytest.mark.precision_benchmark
def test_training(precision: Precision, measure: Callable[[Precision], Record]) -> None:
    """Times one precision. How the training ended is a result; see RESULTS and the record."""
    record = measure(precision)
    assert all(len(entry.run.losses) == record.config.epochs for entry in record.rounds)
    if precision.loss_scaling:
        # A scaler that was never called leaves no history at all.
        assert all(entry.run.loss_scales for entry in record.rounds)
