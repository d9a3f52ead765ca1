"""The numbers inside a training step: weights, activations, gradients, moments, updates."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cnnprec.diagnosis.histograms import Kind, Snapshot
from cnnprec.diagnosis.replay import replay
from cnnprec.diagnosis.step import as_float64, compute_step, slots_of
from cnnprec.precision.formats import Real
from cnnprec.precision.precisions import Precision
from cnnprec.training.device import tensor_float_32
from cnnprec.training.model import build_model, initial_weights


def collect(
    precision: Precision, batches: Sequence[tuple[Any, Any]], *, seed: int
) -> tuple[Snapshot, ...]:
    """Trains a fresh model for one step per batch and keeps the numbers of the last step.

    At least one batch: images, uint8 ``[batch, 28, 28, 1]``, and integer labels ``[batch]``.
    Returns each `Kind` in its order, `Kind.SCALED_GRADIENTS` only under loss scaling.
    """
    model = build_model(precision, jit="off")
    model.set_weights(initial_weights(model, seed))
    optimizer, variables = model.optimizer, model.trainable_variables
    with tensor_float_32(precision.tensor_float_32):
        for _ in replay(model, batches[:-1]):
            pass
        scale = float(optimizer.dynamic_scale.numpy()) if precision.loss_scaling else None
        before = [as_float64(variable) for variable in variables]
        # The replay keeps no tensor of its step, so they are computed apart, and before it.
        tensors = compute_step(model, *batches[-1])
        (report,) = replay(model, batches[-1:])
    after = [as_float64(variable) for variable in variables]
    with np.errstate(invalid="ignore", over="ignore"):
        updates = [new - old for new, old in zip(after, before, strict=True)]
    gradients = [as_float64(gradient) for gradient in tensors.gradients]
    slots = slots_of(getattr(optimizer, "inner_optimizer", optimizer), variables)

    def moments(kind: str) -> list[Real]:
        return [as_float64(slot.variable) for slot in slots if slot.kind == kind]

    outputs = zip(model.layers, tensors.activations, strict=True)
    stored, computed = precision.variable_dtype, precision.compute_dtype
    found = {
        Kind.WEIGHTS: (stored, after),
        Kind.ACTIVATIONS: (computed, [as_float64(y) for layer, y in outputs if layer.weights]),
        # Exact: the scale is a power of two, and float64 has exponents to spare.
        Kind.GRADIENTS: (stored, [gradient / (scale or 1.0) for gradient in gradients]),
        Kind.SCALED_GRADIENTS: (computed, gradients),
        Kind.FIRST_MOMENT: (stored, moments("momentum")),
        Kind.SECOND_MOMENT: (stored, moments("velocity")),
        Kind.UPDATES: (stored, updates),
    }
    if scale is None:
        del found[Kind.SCALED_GRADIENTS]
    return tuple(
        Snapshot(precision, kind, dtype, np.concatenate(parts, axis=None), scale, report.skipped)
        for kind, (dtype, parts) in found.items()
    )
