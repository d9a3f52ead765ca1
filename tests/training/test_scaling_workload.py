"""The workload that needs loss scaling: the suite's own CNN with its loss times 2**-16.

In float16 such gradients underflow; in real arithmetic nothing changes, because the rate of
SGD is multiplied by 2**16. Both are powers of two, and so is the loss scale: multiplying by
them rounds nothing that neither underflows nor overflows. A healthy scaler at 2**16 must
therefore give the very weights of the ordinary loss without any scaling, to the last bit,
and each test below derives from that what a broken one must give.

With Adam the workload would be blind to half of the faults: Adam divides by the size of
the gradient, and so does not care whether anyone unscales it.

docs/why-low-precision-fails.md has the accuracies of whole trainings.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnnprec.precision.precisions import PRECISIONS
from cnnprec.training.model import build_model, initial_weights

FACTOR = 2.0**-16
SCALE = 1 / FACTOR
RATE = 2.0**-4
BATCH = 16
STEPS = 3
# Where all of a step goes through float16, a probability may come out one spacing off, which
# is 2**-10 of it at most. That moves its logarithm, and so the loss, by 2**-10.
NOISE = 2.0**-10
# Kernels and biases of conv1 and conv2.
FIRST_TWO = slice(0, 4)

LossScaleOptimizer = keras.optimizers.LossScaleOptimizer


class NeverScales(LossScaleOptimizer):
    """The scale is 1 and stays there."""

    def scale_loss(self, loss: Any) -> Any:
        self.dynamic_scale.assign(1.0)
        return loss


class NeverUnscales(LossScaleOptimizer):
    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        self.inner_optimizer.apply(grads, trainable_variables)


class UnscalesTwice(LossScaleOptimizer):
    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        super().apply([grad / self.dynamic_scale for grad in grads], trainable_variables)


class NeverBacksOff(LossScaleOptimizer):
    def _stateful_handle_non_finite_grads(self) -> None:
        self.step_counter.assign(0)


def sgd(factor: float = FACTOR) -> keras.optimizers.Optimizer:
    """SGD with the rate that undoes `factor`. Its momentum shows the step before rounding."""
    return keras.optimizers.SGD(RATE / factor, momentum=0.875)


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a training left behind.

    Attributes:
        losses: Loss before each step and after the last, without `FACTOR` and scale.
        gradients: Gradients of the first step as the optimizer got them.
        weights: float32 weights at the end.
        first_velocities: SGD's momentum after the first step, which is minus the rate times
            the gradient; empty for other optimizers.
        scales: The loss scale after each step; all 1 without a scaler.
    """

    losses: list[float]
    gradients: list[np.ndarray]
    weights: list[np.ndarray]
    first_velocities: list[np.ndarray]
    scales: list[float]

    @property
    def fall(self) -> float:
        return self.losses[0] - self.losses[-1]


Train = Callable[..., Trained]


@pytest.fixture(scope="module")
def model() -> keras.Sequential:
    return build_model(PRECISIONS["mixed_half"])


@pytest.fixture(scope="module")
def train(model: keras.Sequential, tiny_data: Any) -> Train:
    images = tf.constant(tiny_data.train_images[:BATCH])
    labels = tf.constant(tiny_data.train_labels[:BATCH])

    def run(optimizer: Any, factor: float = FACTOR, steps: int = STEPS) -> Trained:
        """Trains on ``factor * loss`` of one batch until STEPS steps are applied."""
        variables = model.trainable_variables
        for variable, value in zip(variables, initial_weights(model, 12), strict=True):
            variable.assign(value)
        optimizer.build(variables)
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        losses, scales = [], []
        gradients: list[np.ndarray] = []
        velocities: list[np.ndarray] = []
        for _ in range(steps):
            with tf.GradientTape() as tape:
                loss = model.loss(labels, model(images))
                scaled = optimizer.scale_loss(loss * factor)
            found = tape.gradient(scaled, [variable.value for variable in variables])
            optimizer.apply(found, variables)
            losses.append(float(loss))
            scales.append(float(getattr(optimizer, "dynamic_scale", 1.0)))
            gradients = gradients or [gradient.numpy() for gradient in found]
            velocities = velocities or [m.numpy() for m in getattr(inner, "momentums", [])]
            if int(inner.iterations.numpy()) == STEPS:
                break
        losses.append(float(model.loss(labels, model(images))))
        return Trained(losses, gradients, model.get_weights(), velocities, scales)

    return run


@pytest.fixture(scope="module")
def ordinary(train: Train) -> Trained:
    """The ordinary loss without scaling, which every healthy run must reproduce."""
    return train(sgd(1.0), factor=1.0)


def same_bits(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


def zeros(gradients: list[np.ndarray]) -> float:
    """Fraction of the gradients that are exactly zero."""
    size = sum(gradient.size for gradient in gradients)
    return sum(int(np.count_nonzero(gradient == 0)) for gradient in gradients) / size


def test_ordinary_loss_trains_without_scaling_so_it_could_not_show_a_broken_scaler(ordinary):
    assert ordinary.fall > NOISE


def test_healthy_scaler_gives_the_weights_of_the_ordinary_loss_to_the_last_bit(train, ordinary):
    healthy = train(LossScaleOptimizer(sgd(), initial_scale=SCALE))
    assert same_bits(healthy.weights, ordinary.weights)
    assert healthy.losses == ordinary.losses


def test_keras_default_scale_trains_it_too(train):
    healthy = train(LossScaleOptimizer(sgd()))
    assert healthy.scales == [2.0**15] * STEPS
    assert healthy.fall > NOISE


@pytest.mark.parametrize("optimizer", [sgd, lambda: NeverScales(sgd())], ids=["none", "pinned"])
def test_without_scaling_the_first_two_convolutions_never_move(optimizer, train, ordinary, model):
    unscaled = train(optimizer())
    start = initial_weights(model, 12)
    assert all(np.any(gradient) for gradient in ordinary.gradients)
    assert not any(np.any(gradient) for gradient in unscaled.gradients[FIRST_TWO])
    assert same_bits(unscaled.weights[FIRST_TWO], start[FIRST_TWO])
    # What is left are the gradients next to the loss, which are the largest.
    assert zeros(unscaled.gradients) > zeros(ordinary.gradients)
    assert unscaled.fall < ordinary.fall


def test_missing_unscaling_makes_the_step_exactly_the_scale_too_large(train, ordinary):
    broken = train(NeverUnscales(sgd(), initial_scale=SCALE), steps=1)
    expected = [velocity * SCALE for velocity in ordinary.first_velocities]
    assert same_bits(broken.first_velocities, expected)
    # Thousands of times the size of the weights: what comes out is no loss of a network that
    # learns, and may be no number at all.
    assert not broken.losses[1] < broken.losses[0]


def test_double_unscaling_makes_the_step_exactly_the_scale_too_small(train, ordinary):
    broken = train(UnscalesTwice(sgd(), initial_scale=SCALE))
    expected = [velocity / SCALE for velocity in ordinary.first_velocities]
    assert same_bits(broken.first_velocities, expected)
    assert abs(broken.fall) <= NOISE


# The gradient of the loss by the probability p of the label is 1 / (BATCH * p), with p near
# 1/10 at the start: 0.6. Times 2**18 it is beyond 65504, the largest float16.
TOO_LARGE = SCALE * 2.0**18


def test_scaler_backs_off_from_an_overflowing_scale_until_the_step_is_applied(train):
    # At SCALE the gradients are those of `ordinary`, which are finite.
    skipped = int(math.log2(TOO_LARGE / SCALE))
    healthy = train(LossScaleOptimizer(sgd(), initial_scale=TOO_LARGE), steps=skipped + STEPS)
    assert healthy.scales[0] == TOO_LARGE / 2
    assert healthy.scales[-1] >= SCALE
    # Three applied steps at one scale.
    assert len(set(healthy.scales[-STEPS:])) == 1
    assert healthy.fall > NOISE


def test_scaler_that_never_backs_off_changes_no_bit_of_any_weight(train, model):
    start = initial_weights(model, 12)
    broken = train(NeverBacksOff(sgd(), initial_scale=TOO_LARGE))
    assert broken.scales == [TOO_LARGE] * STEPS
    assert same_bits(broken.weights, start)


def test_adam_would_hide_a_missing_unscaling(train):
    """Why the workload steps with SGD."""
    hidden = train(NeverUnscales(keras.optimizers.Adam(), initial_scale=SCALE))
    assert hidden.fall > NOISE
