"""Training, probing and judging inside a fault."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from cnnprec.measurement import probing
from cnnprec.measurement.environment import describe_environment
from cnnprec.precision.precisions import PRECISIONS
from cnnprec.records.record import Record, Round
from cnnprec.training.trainer import Trainer
from cnnprec.verdicts.compare import compare
from cnnprec.verdicts.judge_numbers import Check, faults
from cnnprec.verdicts.verdict import Metric, Verdict
from cnnprec.workload.load_dataset import load_dataset
from cnnprec.workload.profiles import PROFILES
from tests.faults.rows import Fault
from tests.support.records import record

CONFIG = dataclasses.replace(PROFILES["quick"], runs=1)


@functools.cache
def dataset() -> Any:
    return load_dataset(
        "fashion-mnist", train_samples=CONFIG.train_samples, test_samples=CONFIG.test_samples
    )


def measured(precision: str) -> Record:
    """Three runs and the numbers of one precision, as a session has them, without times."""
    trainer = Trainer(PRECISIONS[precision], CONFIG, dataset())
    trainer.warm_up()
    rounds = []
    for place in range(CONFIG.runs):
        trainer.reset(CONFIG.seed + place)
        trainer.fit()
        rounds.append(Round(trainer.finish(), 1.0, 1.0, 500_000_000))
    probing.probe.cache_clear()
    numerics = probing.examine(trainer, "quick")
    probing.probe.cache_clear()
    # The limits depend on where it ran.
    environment = describe_environment("CPU")
    return record(
        precision, tuple(rounds), config=CONFIG, numerics=numerics, environment=environment
    )


@functools.cache
def healthy(precision: str) -> Record:
    return measured(precision)


@dataclasses.dataclass(frozen=True)
class Caught:
    """What each check said.

    Attributes:
        alone: Without a baseline, by check.
        same: Metrics that FAIL where the stack is that of the baseline.
        other: Metrics that FAIL where TensorFlow is another, so that bits may differ.
        placed: Whether a sentence names the right place; None where there is none.
    """

    alone: tuple[str, ...]
    same: tuple[str, ...]
    other: tuple[str, ...]
    placed: bool | None


def judged(new: Record, fault: Fault | None = None) -> Caught:
    """What the checks say of a record beside a healthy baseline."""
    name = new.precision.name
    baseline = [{name: healthy(name)}] * 5
    environment = dataclasses.replace(new.environment, tensorflow="9.9")
    sides = []
    for side in (new, dataclasses.replace(new, environment=environment)):
        comparison = compare(baseline, {name: side})
        metrics = (Metric.OUTCOME, Metric.ACCURACY, Metric.NUMERICS)
        sides.append(
            tuple(str(m) for m in metrics if comparison.of(m, name).verdict is Verdict.FAIL)
        )
    found = faults(new, {name: new})
    texts = " ".join(text for texts in found.values() for text in texts)
    return Caught(
        tuple(str(check) for check in Check if found[check]),
        *sides,
        fault.place in texts if fault is not None and fault.place else None,
    )


def trial(fault: Fault, precision: str) -> Caught:
    """Injects the fault, measures and judges."""
    healthy(precision)
    with fault.injected():
        new = measured(precision)
    return judged(new, fault)
