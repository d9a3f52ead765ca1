"""Where a training broke, and why: the first bad tensor and the numbers that explain it.

Nothing is watched while training runs; the loss of each step is noted anyway
(`cnnprec.training.step_log`). A run that went wrong is replayed from its seed, which gives the same
numbers again, one step at a time and with every tensor looked at. So watching costs
nothing where nothing is wrong, and the look afterwards can be thorough.

A tensor is bad if it holds a NaN, an infinity, or a number within a factor of two of the
largest finite one of its dtype: from there on sums overflow. Tensors are looked at in the
order in which a step computes them; the first bad one is where the trouble began.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from cnnprec.diagnosis.sighting import PASSING, Phase, Sighting, StepReport, inspect_tensor
from cnnprec.diagnosis.step import (
    FloatArray,
    as_float64,
    compute_step,
    dtype_name,
    slots_of,
    weight_names,
)
from cnnprec.precision.hyperparameters import Finding, Severity, check_optimizer
from cnnprec.training.model import check_wrapping


def replay(
    model: keras.Sequential, batches: Iterable[tuple[Any, Any]], *, start: int = 0
) -> Iterator[StepReport]:
    """Trains on the batches, step by step and eagerly, and reports on each step.

    Args:
        model: A compiled model whose optimizer is built. It is trained. Layers without
            weights may have a dtype policy of their own, such as a softmax in float32.
        batches: Pairs of images ``[batch, 28, 28, 1]`` and integer labels ``[batch]``.
        start: Number of the first step.

    Raises:
        ValueError: At once if the model is not compiled, its optimizer is not built or is
            wrapped twice in loss scaling, or its layers store or compute in more than one
            dtype. At its step if a batch is empty, its images are not finite, or its labels
            are not one integer in range for each image. Nothing was trained on it then.
    """
    _check_model(model)
    return _replay(model, batches, start)


def _replay(
    model: keras.Sequential, batches: Iterable[tuple[Any, Any]], start: int
) -> Iterator[StepReport]:
    for step, (images, labels) in enumerate(batches, start):
        _check_batch(model, images, labels)
        yield _step(model, images, labels, step)


def _step(model: keras.Sequential, images: Any, labels: Any, step: int) -> StepReport:
    optimizer = model.optimizer
    adam = getattr(optimizer, "inner_optimizer", optimizer)
    seen: list[Sighting] = []

    def look(phase: Phase, layer: str, tensor: str, value: Any, dtype: str = "") -> FloatArray:
        numbers = as_float64(value)
        sighting = inspect_tensor(step, phase, layer, tensor, numbers, dtype or dtype_name(value))
        if sighting is not None:
            seen.append(sighting)
        return numbers

    variables, names = model.trainable_variables, weight_names(model)
    slots = slots_of(adam, variables)
    weights = [
        look(Phase.STATE, layer_name, name, variable)
        for (layer_name, name), variable in zip(names, variables, strict=True)
    ]
    for slot in slots:
        look(Phase.STATE, slot.layer, slot.name, slot.variable)

    tensors = compute_step(model, images, labels)
    gradients = tensors.gradients
    for layer, activation in zip(model.layers, tensors.activations, strict=True):
        look(Phase.FORWARD, layer.name, "activation", activation)
    look(Phase.LOSS, "loss", "loss", tensors.loss)
    by_layer: dict[str, list[tuple[str, Any]]] = {}
    for (layer_name, name), gradient in zip(names, gradients, strict=True):
        by_layer.setdefault(layer_name, []).append((name, gradient))
    upstream = zip(reversed(model.layers), reversed(tensors.activation_gradients), strict=True)
    for layer, gradient in upstream:
        if gradient is not None:
            look(Phase.GRADIENT, layer.name, "activation gradient", gradient)
        for name, own in by_layer.get(layer.name, ()):
            look(Phase.GRADIENT, layer.name, f"{name} gradient", own)

    iterations = int(adam.iterations.numpy())
    optimizer.apply_gradients(zip(gradients, variables, strict=True))
    skipped = optimizer is not adam and int(adam.iterations.numpy()) == iterations
    moments: dict[str, list[FloatArray]] = {}
    for slot in slots:
        numbers = look(Phase.SLOT, slot.layer, slot.name, slot.variable)
        moments.setdefault(slot.kind, []).append(numbers.ravel())
    after = [as_float64(variable) for variable in variables]
    with np.errstate(invalid="ignore", over="ignore"):
        updates = [new - old for new, old in zip(after, weights, strict=True)]
    for (layer_name, name), update, variable in zip(names, updates, variables, strict=True):
        look(Phase.UPDATE, layer_name, f"{name} update", update, dtype_name(variable))
    for (layer_name, name), new, variable in zip(names, after, variables, strict=True):
        look(Phase.WEIGHT, layer_name, name, new, dtype_name(variable))
    if optimizer is not adam and not skipped:
        # Scaled gradients near overflow are what loss scaling aims at.
        seen = [bad for bad in seen if bad.phase is not Phase.GRADIENT or bad.nan or bad.infinite]
    pushed = sum(int(np.count_nonzero(as_float64(gradient))) for gradient in gradients)
    return _report(step, seen, skipped, adam, dtype_name(variables[0]), moments, pushed, updates)


def _report(
    step: int,
    seen: list[Sighting],
    skipped: bool,
    adam: keras.optimizers.Optimizer,
    dtype: str,
    moments: dict[str, list[FloatArray]],
    pushed: int,
    updates: list[FloatArray],
) -> StepReport:
    # A skipped step does no harm, unless the weights or slots were bad before it.
    harmless = skipped and all(bad.phase in PASSING for bad in seen)
    size = sum(update.size for update in updates)
    moved = sum(int(np.count_nonzero(update)) for update in updates)
    first, second = moments.get("momentum"), moments.get("velocity")
    zero = (
        None
        if first is None or second is None
        else sum(
            int(np.count_nonzero((m != 0) & (v == 0))) for m, v in zip(first, second, strict=True)
        )
    )
    bound = _update_bound(adam)
    finite = [np.abs(update[np.isfinite(update)]).max(initial=0) for update in updates]
    return StepReport(
        step=step,
        bad=tuple(dataclasses.replace(bad, handled=harmless) for bad in seen),
        skipped=skipped,
        second_moment_zero=None if zero is None else zero / size,
        largest_update=float(max(finite) / bound) if bound else None,
        should_move=pushed / size,
        moved=moved / size,
        freezing=_freezing(adam, dtype) if not moved and not skipped else (),
    )


def _freezing(optimizer: keras.optimizers.Optimizer, dtype: str) -> tuple[Finding, ...]:
    """The hyper-parameters that make every update zero because the dtype changes them."""
    return tuple(
        finding
        for finding in check_optimizer(optimizer, dtype)
        if finding.severity is Severity.FREEZES
        # A learning rate of 0 freezes as well, but every dtype holds it.
        and finding.cast_value != finding.value
    )


def _update_bound(optimizer: keras.optimizers.Optimizer) -> float | None:
    """The furthest that one step of Adam can move a weight in exact arithmetic.

    ``lr * max(1, (1 - beta_1) / sqrt(1 - beta_2))``: Kingma and Ba, arXiv:1412.6980,
    section 2.1.
    """
    if not isinstance(optimizer, keras.optimizers.Adam):
        return None
    rate = float(as_float64(optimizer.learning_rate))
    beta_1, beta_2 = float(optimizer.beta_1), float(optimizer.beta_2)
    return rate * max(1.0, (1 - beta_1) / math.sqrt(1 - beta_2))


def _check_model(model: keras.Sequential) -> None:
    if not model.built:
        raise ValueError("the model has no weights yet; give it an Input layer or call it once")
    if not model.compiled or model.optimizer is None:
        raise ValueError("the model is not compiled; call its compile() with an optimizer and loss")
    check_wrapping(model.optimizer)
    if not model.optimizer.built:
        raise ValueError(
            "the optimizer has no slots yet; call "
            "model.optimizer.build(model.trainable_variables) before the replay"
        )
    policies = sorted(
        {
            f"{layer.variable_dtype} weights computed in {layer.compute_dtype}"
            for layer in model.layers
            if layer.weights
        }
    )
    if len(policies) > 1:
        raise ValueError(
            f"the layers have {len(policies)} dtype policies ({'; '.join(policies)}); "
            "give all layers with weights the same one"
        )


def _check_batch(model: keras.Sequential, images: Any, labels: Any) -> None:
    pixels, labels = as_float64(images), np.asarray(labels)
    classes = model.output_shape[-1]
    if not len(pixels):
        raise ValueError("the batch is empty; give at least one image")
    bad = int(np.count_nonzero(~np.isfinite(pixels)))
    if bad:
        raise ValueError(f"{bad} of {pixels.size} pixels are not finite; clean the images first")
    if labels.shape != pixels.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"the labels are {labels.dtype} of shape {list(labels.shape)}; give one integer for "
            f"each of the {len(pixels)} images"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels run from {labels.min()} to {labels.max()}; the model knows 0 to {classes - 1}"
        )
