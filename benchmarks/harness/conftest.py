"""What the benchmarks of the suite itself share."""

import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from cnnprec.precision.precisions import Precision
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


@pytest.fixture
def in_turns(suite: Session) -> Callable[[Mapping[Any, Callable[[], object]]], Any]:
    """Prepares rounds in which each way runs once, in an order of its own.

    Called with the ways by name, it returns a function that runs one round, and the seconds of
    each way in each round so far.
    """

    def prepare(ways: Mapping[Any, Callable[[], object]]) -> Any:
        seconds: dict[Any, list[float]] = {name: [] for name in ways}
        order = random.Random(suite.order_seed)  # noqa: S311

        def one_round() -> None:
            for name in order.sample(list(ways), len(ways)):
                start = time.perf_counter()
                ways[name]()
                seconds[name].append(time.perf_counter() - start)

        return one_round, seconds

    return prepare


@pytest.fixture
def bare_loop() -> Callable[[Precision, TrainingConfig, Dataset], Callable[[int], None]]:
    """Builds a compiled loop of training steps with no harness; see `_bare_loop`."""
    return _bare_loop


def _bare_loop(
    precision: Precision, work: TrainingConfig, dataset: Dataset
) -> Callable[[int], None]:
    """Takes so many steps over slices of the tensors in a compiled loop, with nothing around it.

    A step does what the training needs: forward, gradients, the loss scale if there is one, Adam.
    """
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
