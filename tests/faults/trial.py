"""Training, probing and judging inside a fault."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import re
import statistics
from typing import Any

import tensorflow as tf

from cnnprec.measurement import probing
from cnnprec.measurement.environment import describe_environment
from cnnprec.numerics.probes import PROBES, QUICK, select_probes
from cnnprec.precision.precisions import PRECISIONS
from cnnprec.records.numerics import Numerics
from cnnprec.records.record import Record, Round
from cnnprec.training.trainer import Trainer, train
from cnnprec.verdicts.compare import compare
from cnnprec.verdicts.judge_numbers import Check, faults
from cnnprec.verdicts.verdict import Metric, Verdict
from cnnprec.workload.load_dataset import load_dataset
from cnnprec.workload.profiles import PROFILES, TrainingConfig
from tests.faults.families import Drawn
from tests.faults.rows import Fault
from tests.support.probes import run_probe
from tests.support.records import record

CONFIG = PROFILES["quick"]
ONE_SEED = dataclasses.replace(CONFIG, runs=1)  # of the faults at random


@functools.cache
def dataset() -> Any:
    return load_dataset(
        "fashion-mnist", train_samples=CONFIG.train_samples, test_samples=CONFIG.test_samples
    )


def measured(precision: str, config: TrainingConfig = CONFIG) -> Record:
    """The runs and the numbers of one precision, as a session has them, without times."""
    trainer = Trainer(PRECISIONS[precision], config, dataset())
    trainer.warm_up()
    rounds = []
    for place in range(config.runs):
        trainer.reset(config.seed + place)
        trainer.fit()
        rounds.append(Round(trainer.finish(), 1.0, 1.0, 500_000_000))
    numerics = probing.examine(trainer, "quick")
    # The limits depend on where it ran.
    environment = describe_environment("CPU")
    made = record(
        precision, tuple(rounds), config=config, numerics=numerics, environment=environment
    )
    return dataclasses.replace(made, jit_compiled=trainer.jit_compiled)


@functools.cache
def healthy(precision: str, config: TrainingConfig) -> Record:
    return measured(precision, config)


@dataclasses.dataclass(frozen=True)
class Caught:
    """What each check said.

    Attributes:
        alone: Without a baseline, by check.
        same: Metrics that FAIL where the stack is that of the baseline.
        other: Metrics that FAIL where TensorFlow is another, so that bits may differ.
        placed: Whether a sentence names the right place; None where there is none.
        step: The first step that a sentence names; None where none does.
        peers: What rules of others would have said, by `PEERS`.
    """

    alone: tuple[str, ...]
    same: tuple[str, ...]
    other: tuple[str, ...]
    placed: bool | None
    step: int | None = None
    peers: tuple[str, ...] = ()


def judged(new: Record, fault: Fault | None = None) -> Caught:
    """What the checks say of a record beside a healthy baseline."""
    name = new.precision.name
    baseline = [{name: healthy(name, new.config)}] * 5
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
    steps = [int(step) for step in re.findall(r"\bstep (\d+)", texts)]
    return Caught(
        tuple(str(check) for check in Check if found[check]),
        *sides,
        fault.place in texts if fault is not None and fault.place else None,
        min(steps, default=None),
    )


PEERS = ("accuracy", "losses", "repeats", "check_numerics")
"""Rules of others, as docs/detection.md explains them."""


def by_peers(new: Record, old: Record, repeats: bool, stops: bool) -> tuple[str, ...]:
    """Which of `PEERS` tell a record from the healthy one."""
    runs = [[entry.run for entry in record.rounds] for record in (new, old)]
    accuracy, right = (statistics.fmean(run.test_accuracy for run in rows) for rows in runs)
    loss, usual = (statistics.fmean(loss for run in rows for loss in run.losses) for rows in runs)
    moved = not math.isnan(usual) and not abs(loss / usual - 1) <= 0.05
    found = (abs(accuracy - right) > 0.02, moved, not repeats, stops)
    return tuple(itertools.compress(PEERS, found))


def stops_by_check_numerics(precision: str) -> bool:
    """Whether `tf.debugging.enable_check_numerics` ends a training."""
    tf.debugging.enable_check_numerics()
    try:
        train(precision, ONE_SEED, dataset())
    except tf.errors.InvalidArgumentError:
        return True
    finally:
        tf.debugging.disable_check_numerics()
    return False


healthy_stops = functools.cache(stops_by_check_numerics)


def repeats_itself(new: Record) -> bool:
    """Whether the first seed, trained once more, ends with the same bits."""
    again = train(new.precision, ONE_SEED, dataset())
    return again.weights_sha256 == new.rounds[0].run.weights_sha256


def trial(fault: Fault, precision: str) -> Caught:
    """Injects the fault, measures and judges."""
    sound = healthy(precision, CONFIG)
    useless = healthy_stops(precision)
    probing.probe.cache_clear()
    with fault.injected():
        new = measured(precision)
        repeats, stops = repeats_itself(new), not useless and stops_by_check_numerics(precision)
    probing.probe.cache_clear()
    return dataclasses.replace(judged(new, fault), peers=by_peers(new, sound, repeats, stops))


IDLE = "changes nothing"


def quick_trial(drawn: Drawn) -> str:
    """What catches a fault of a family where the stack has changed, so that bits do not count.

    The probes run one after the other, those of the operation first, and the first wrong result
    ends the trial. Only where there is none the training and its verdicts follow.

    Returns:
        The probe, the metrics that FAIL, `IDLE` where no bit differs, or nothing: it is missed.
    """
    precision = PRECISIONS[drawn.precision]
    likely = HINTS[drawn.family[0].split()[0].strip(",")]
    probes = select_probes([precision.compute_dtype], QUICK)
    found = []
    with drawn.fault.injected():
        for probe in sorted(probes, key=lambda probe: not probe.name.startswith(likely)):
            result = run_probe(probe, seed=0)
            if probing.is_wrong(result):
                return probe.name
            found.append(result)
        trainer = Trainer(precision, ONE_SEED, dataset())
        trainer.warm_up()
        losses, tensors = probing.replay_in_float64(trainer)
        groups = tuple(probing.grouped(sorted(found, key=lambda r: list(PROBES).index(r.id))))
        numerics = Numerics("quick", groups, (), (), losses, tensors, 0)
        new = dataclasses.replace(blank(drawn.precision), numerics=numerics)
        if wrong := [str(check) for check, texts in faults(new, {}).items() if texts]:
            return ", ".join(wrong)
        trainer.reset(ONE_SEED.seed)
        trainer.fit()
        new = dataclasses.replace(new, rounds=(Round(trainer.finish(), 1.0, 1.0, 500_000_000),))
        new = dataclasses.replace(
            new, numerics=dataclasses.replace(numerics, miscounted=probing._miscounted(trainer))
        )
    sound = healthy(drawn.precision, ONE_SEED)
    assert sound.numerics is not None
    if new.rounds == sound.rounds and groups == sound.numerics.probes:
        return IDLE
    caught = judged(new)
    return ", ".join(dict.fromkeys([*caught.alone, *caught.other]))


def blank(precision: str) -> Record:
    """A record without runs, judged by its numbers alone."""
    environment = describe_environment("CPU")
    return dataclasses.replace(
        record(precision, config=ONE_SEED, environment=environment), rounds=()
    )


HINTS = {
    "convolution": "conv2d.",
    "matmul": "dense.",
    "relu": "relu.",
    "max_pool": "max_pool",
    "softmax": "softmax.",
    "cross": "cross_entropy.",
    "Adam's": "adam.",
}
