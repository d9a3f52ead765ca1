"""The numbers inside a training step: weights, activations, gradients, moments, updates.

A fresh model is trained eagerly for a few steps, and the last of them is kept whole. The
step is the one that `cnnprec.finite.replay` reports on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cnnprec.device import tensor_float_32
from cnnprec.finite import replay
from cnnprec.histograms import FloatArray, Kind, Snapshot
from cnnprec.model import build_model, initial_weights
from cnnprec.precision import Precision


def collect(
    precision: Precision,
    batches: Iterable[tuple[Any, Any]],
    *,
    seed: int = 12,
    loss_scale: float | None = None,
) -> tuple[Snapshot, ...]:
    """Trains a fresh model for one step per batch and keeps the numbers of the last step.

    Args:
        precision: What to train in.
        batches: Pairs of images, uint8 ``[batch, 28, 28, 1]``, and labels, integers
            ``[batch]``.
        seed: Of the initial weights.
        loss_scale: A power of two to start from in place of Keras' 2**15.

    Returns:
        One snapshot per kind, in the order of `Kind`; `Kind.SCALED_GRADIENTS` only under
        loss scaling.

    Raises:
        ValueError: There is no batch, or one that `cnnprec.finite.replay` refuses; the
            loss scale is no power of two, or the precision has none.
    """
    steps = list(batches)
    if not steps:
        raise ValueError("no batch to train on; give at least one")
    _check_scale(precision, loss_scale)
    model = build_model(precision, jit="off")
    _assign(model, initial_weights(model, seed))
    if loss_scale is not None:
        model.optimizer.dynamic_scale.assign(loss_scale)
    with tensor_float_32(precision.tensor_float_32):
        for _ in replay(model, steps[:-1]):
            pass
        return _last_step(model, precision, *steps[-1], step=len(steps) - 1)


def _check_scale(precision: Precision, loss_scale: float | None) -> None:
    if loss_scale is None:
        return
    if not precision.loss_scaling:
        raise ValueError(f"loss scale {loss_scale}: {precision} has none; leave it out")
    # Any other would round, and no histogram would shift by whole binades.
    if not 0 < loss_scale < math.inf or math.frexp(loss_scale)[0] != 0.5:
        raise ValueError(f"loss scale {loss_scale} is no power of two; give one, such as 256")


def _last_step(
    model: keras.Sequential, precision: Precision, images: Any, labels: Any, *, step: int
) -> tuple[Snapshot, ...]:
    optimizer = model.optimizer
    adam = getattr(optimizer, "inner_optimizer", optimizer)
    scale = float(optimizer.dynamic_scale.numpy()) if precision.loss_scaling else None
    start = [variable.numpy() for variable in model.trainable_variables]
    (report,) = replay(model, [(images, labels)], start=step)
    before = [array.astype(np.float64) for array in start]
    after = [_array(variable) for variable in model.trainable_variables]
    with np.errstate(invalid="ignore", over="ignore"):
        updates = [new - old for new, old in zip(after, before, strict=True)]
    first, second = _slots(adam, "momentum"), _slots(adam, "velocity")
    # The step's own tensors are gone: they are computed once more, from where it started.
    _assign(model, start)
    if scale is not None:
        optimizer.dynamic_scale.assign(scale)
    activations, gradients = _forward_and_backward(model, images, labels)

    stored, computed = precision.variable_dtype, precision.compute_dtype
    found: dict[Kind, tuple[str, list[FloatArray]]] = {
        Kind.WEIGHTS: (stored, after),
        Kind.ACTIVATIONS: (computed, activations),
        # Exact: the scale is a power of two, and float64 has exponents to spare.
        Kind.GRADIENTS: (stored, [gradient / (scale or 1.0) for gradient in gradients]),
        Kind.FIRST_MOMENT: (stored, first),
        Kind.SECOND_MOMENT: (stored, second),
        Kind.UPDATES: (stored, updates),
    }
    if scale is not None:
        found[Kind.SCALED_GRADIENTS] = (computed, gradients)
    return tuple(
        Snapshot(
            precision,
            step,
            kind,
            found[kind][0],
            np.concatenate([part.ravel() for part in found[kind][1]]),
            scale,
            report.skipped,
        )
        for kind in Kind
        if kind in found
    )


def _forward_and_backward(
    model: keras.Sequential, images: Any, labels: Any
) -> tuple[list[FloatArray], list[FloatArray]]:
    """Outputs of the layers with weights, and gradients of the loss as it is scaled."""
    variables = model.trainable_variables
    activations = []
    with tf.GradientTape() as tape:
        tensor = tf.convert_to_tensor(images)
        for layer in model.layers:
            tensor = layer(tensor)
            if layer.weights:
                activations.append(_array(tensor))
        loss = model.optimizer.scale_loss(model.loss(labels, tensor))
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    return activations, [_array(gradient) for gradient in gradients]


def _assign(model: keras.Sequential, weights: Iterable[Any]) -> None:
    for variable, value in zip(model.trainable_variables, weights, strict=True):
        variable.assign(value)


def _slots(adam: keras.optimizers.Optimizer, kind: str) -> list[FloatArray]:
    """One kind of Adam's slots in the order of the weights; Keras tells only by names."""
    return [_array(slot) for slot in adam.variables if slot.name.endswith(f"_{kind}")]


def _array(value: Any) -> FloatArray:
    """The numbers of a tensor or variable.

    NumPy casts, because TensorFlow's cast flushes float32 and bfloat16 subnormals to zero.
    """
    return np.asarray(value.numpy()).astype(np.float64)
