"""The numbers inside a training step: weights, activations, gradients, moments, updates.

A fresh model is trained eagerly for a few steps, and the last of them is kept whole. The
step is the one that `cnnprec.diagnosis.replay.replay` reports on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from cnnprec.diagnosis.histograms import Kind, Snapshot
from cnnprec.diagnosis.replay import replay
from cnnprec.diagnosis.step import FloatArray, as_float64, compute_step, slots_of
from cnnprec.precision.precisions import Precision
from cnnprec.training.device import tensor_float_32
from cnnprec.training.model import build_model, initial_weights


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
        ValueError: There is no batch, or one that `cnnprec.diagnosis.replay.replay` refuses; the
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
    after = [as_float64(variable) for variable in model.trainable_variables]
    with np.errstate(invalid="ignore", over="ignore"):
        updates = [new - old for new, old in zip(after, before, strict=True)]
    moments: dict[str, list[FloatArray]] = {"momentum": [], "velocity": []}
    for slot in slots_of(adam, model.trainable_variables):
        moments[slot.kind].append(as_float64(slot.variable))
    # The step's own tensors are gone: they are computed once more, from where it started.
    _assign(model, start)
    if scale is not None:
        optimizer.dynamic_scale.assign(scale)
    tensors = compute_step(model, images, labels)
    activations = [
        as_float64(activation)
        for layer, activation in zip(model.layers, tensors.activations, strict=True)
        if layer.weights
    ]
    gradients = [as_float64(gradient) for gradient in tensors.gradients]

    stored, computed = precision.variable_dtype, precision.compute_dtype
    found: dict[Kind, tuple[str, list[FloatArray]]] = {
        Kind.WEIGHTS: (stored, after),
        Kind.ACTIVATIONS: (computed, activations),
        # Exact: the scale is a power of two, and float64 has exponents to spare.
        Kind.GRADIENTS: (stored, [gradient / (scale or 1.0) for gradient in gradients]),
        Kind.FIRST_MOMENT: (stored, moments["momentum"]),
        Kind.SECOND_MOMENT: (stored, moments["velocity"]),
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


def _assign(model: keras.Sequential, weights: Iterable[Any]) -> None:
    for variable, value in zip(model.trainable_variables, weights, strict=True):
        variable.assign(value)
