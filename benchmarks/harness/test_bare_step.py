"""The suite's training step costs what a bare compiled step costs, in every precision.

Turns of the suite (`cnnprec.training.trainer.Trainer.take`) and of a compiled loop with nothing
around it are taken one after the other within one session, so that the machine's drift meets both
alike. The loop does what the precision's training needs and no more: forward, gradients, the loss
scale where there is one, Adam.

Run it with ``pytest benchmarks/harness/test_bare_step.py -m harness``.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable

import pytest

from cnnprec.precision.precisions import Precision
from cnnprec.pytest_plugin.session import Session
from cnnprec.verdicts.statistics import fastest_third, geometric_mean
from cnnprec.workload.profiles import TrainingConfig

pytestmark = pytest.mark.harness

# The limits of this suite's specification, by batch size.
_MOST = {32: 1.05, 512: 1.01}
# A turn long enough that calling TensorFlow is no part of it, and as many as half a minute allows.
_TURN_SECONDS = 0.3
_SECONDS = 30.0
_ROUNDS = 5, 40


@pytest.mark.each_precision
@pytest.mark.parametrize("batch", _MOST)
@pytest.mark.usefixtures("prepared")
def test_step_of_the_suite_costs_what_a_bare_step_costs(
    benchmark, precision: Precision, batch: int, suite: Session, load, record_property, capsys
) -> None:
    from cnnprec.training.trainer import Trainer

    images = {"train_samples": 20 * batch, "test_samples": 100}
    work = TrainingConfig("step", **images, epochs=1, runs=1, batch_size=batch)
    dataset = load(work)
    trainer = Trainer(precision, work, dataset)
    trainer.warm_up()
    trainer.start_turns()
    ways: dict[str, Callable[[int], None]] = {
        "suite": trainer.take,
        "bare": bare(precision, work, dataset),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    steps = _steps(ways)
    order = random.Random(suite.order_seed)  # noqa: S311

    def one_round() -> None:
        for name in order.sample(list(ways), len(ways)):
            start = time.perf_counter()
            ways[name](steps)
            seconds[name].append((time.perf_counter() - start) / steps)

    one_round()
    round_seconds = sum(times.pop() for times in seconds.values()) * steps
    benchmark.group = "harness"
    fewest, most = _ROUNDS
    rounds = max(fewest, min(most, round(_SECONDS / round_seconds)))
    benchmark.pedantic(one_round, rounds=rounds)
    ratio = _figure(seconds["suite"]) / _figure(seconds["bare"])
    low, median, high = statistics.quantiles(
        (a / b for a, b in zip(seconds["suite"], seconds["bare"], strict=True)), n=4
    )
    text = (
        f"{precision}, batch {batch}: {ratio:.3f} ({_figure(seconds['suite']) * 1e3:.2f} over "
        f"{_figure(seconds['bare']) * 1e3:.2f} ms; median of {rounds} rounds {median:.3f}, half of "
        f"them {low:.3f} to {high:.3f})"
    )
    record_property("ratio", text)
    with capsys.disabled():
        print(f"\n  {text}")  # noqa: T201
    assert ratio <= _MOST[batch], text


def _figure(seconds: list[float]) -> float:
    """As the suite's own time per step: what else runs on the machine only adds."""
    return geometric_mean(fastest_third(seconds))


def _steps(ways: dict[str, Callable[[int], None]]) -> int:
    """Steps of a turn: as many as the slower of the two takes in that time."""
    slowest = 0.0
    for take in ways.values():
        take(2)  # traces and compiles
        start = time.perf_counter()
        take(3)
        slowest = max(slowest, (time.perf_counter() - start) / 3)
    return max(1, round(_TURN_SECONDS / slowest))


def bare(precision: Precision, work: TrainingConfig, dataset) -> Callable[[int], None]:
    """A compiled loop of so many steps over slices of the tensors."""
    import tensorflow as tf

    from cnnprec.training.device import tensor_float_32
    from cnnprec.training.model import build_model

    model = build_model(precision)
    images = tf.convert_to_tensor(dataset.train_images)
    labels = tf.convert_to_tensor(dataset.train_labels)
    size = work.batch_size

    @tf.function
    def loop(steps):
        loss = tf.zeros([], model.loss.dtype)
        for step in tf.range(steps):
            start = step % work.steps_per_epoch * size
            with tf.GradientTape() as tape:
                pixels = tf.ensure_shape(images[start : start + size], [size, 28, 28, 1])
                right = tf.ensure_shape(labels[start : start + size], [size])
                loss = model.loss(right, model(pixels, training=True))
                scaled = model.optimizer.scale_loss(loss)
            gradients = tape.gradient(scaled, model.trainable_variables)
            model.optimizer.apply(gradients, model.trainable_variables)
        return loss

    def take(steps: int) -> None:
        with tensor_float_32(precision.tensor_float_32):
            float(loop(tf.constant(steps)))

    return take
