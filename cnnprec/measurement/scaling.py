"""Points of a scaling study: all precisions by turns, and those that do not fit memory told."""

from collections.abc import Iterator, Sequence

import tensorflow as tf

from cnnprec.machine.names import gpu_index
from cnnprec.measurement.prepare import prepare
from cnnprec.measurement.session import MeasuredSession
from cnnprec.precision.precisions import Precision
from cnnprec.records.scaling import Point
from cnnprec.workload.profiles import TrainingConfig


def measure_points(
    precisions: Sequence[Precision], config: TrainingConfig, device: str
) -> Iterator[Point]:
    """Trains synthetic images and times the turns; raises what is no lack of memory."""
    prepared = prepare(config, precisions, dataset="synthetic", device=device)
    session = MeasuredSession(precisions, config, prepared, gpu=gpu_index(device), diagnosed=False)
    for precision in precisions:
        place = (precision.name, config.width, config.batch_size)
        series = session.take(precision)
        turns = series.record.turns
        if isinstance(series.error, tf.errors.ResourceExhaustedError):
            yield Point(*place, missing=f"out of memory: {str(series.error).splitlines()[0]}")
        elif series.error is not None:
            raise series.error
        elif turns is not None:
            yield Point(*place, turns.step_seconds, series.record.rounds[0].peak_memory_bytes)
