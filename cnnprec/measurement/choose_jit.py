"""``--jit best``: whether XLA makes a precision's training step faster on this machine."""

import statistics
import time
from collections.abc import Mapping

from cnnprec.measurement.turns import steps_for
from cnnprec.precision.precisions import Precision
from cnnprec.training.trainer import Trainer
from cnnprec.workload.dataset import Dataset
from cnnprec.workload.profiles import TrainingConfig

CLEARLY_FASTER = 0.9
"""XLA is chosen where it takes at most this share of the time without it. Where the two are
nearer, sessions have to agree, so all of them go without."""
_PAIRS = 5


def trainer_for(
    precision: Precision,
    config: TrainingConfig,
    dataset: Dataset,
    compiled: Mapping[str, bool],
    *,
    timed: bool,
) -> Trainer:
    """The trainer of a precision, warmed up; with ``--jit best`` the faster of two.

    Where `compiled` has the precision's name, it says whether XLA is chosen. Where it has not, the
    two take turns of a tenth of a second. Where nothing is `timed`, it is without XLA.
    """
    choices = [config.jit]
    if config.jit == "best" and not precision.xla:
        known = compiled.get(precision.name, None if timed else False)
        choices = ["off", "on"] if known is None else ["on" if known else "off"]
    trainers = [Trainer(precision, config.override(jit=jit), dataset) for jit in choices]
    for trainer in trainers:
        trainer.warm_up()
    return trainers[0] if len(trainers) == 1 else _faster(*trainers)


def _faster(plain: Trainer, compiled: Trainer) -> Trainer:
    steps = {}
    for trainer in (plain, compiled):
        trainer.start_turns()
        _step_seconds(trainer, 1)  # fills the pipeline
        steps[trainer] = steps_for(_step_seconds(trainer, 1))
    ratios = []
    for _ in range(_PAIRS):
        without, by_xla = (_step_seconds(trainer, count) for trainer, count in steps.items())
        ratios.append(by_xla / without)
    return compiled if statistics.median(ratios) <= CLEARLY_FASTER else plain


def _step_seconds(trainer: Trainer, steps: int) -> float:
    start = time.perf_counter()
    trainer.take(steps)
    return (time.perf_counter() - start) / steps
