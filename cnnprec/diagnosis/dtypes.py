"""Which dtype every tensor of a training step should have, and which it has."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from cnnprec.diagnosis.step import compute_step, weight_names
from cnnprec.precision.precisions import Precision
from cnnprec.training.model import IMAGE_SHAPE


@dataclasses.dataclass(frozen=True)
class Mismatch:
    """One tensor, such as ``"kernel gradient"``, of another dtype than its precision asks for.

    The layer is ``"optimizer"`` or ``"loss"`` for what belongs to none.
    """

    layer: str
    tensor: str
    expected: str
    actual: str

    def __str__(self) -> str:
        return f"{self.layer}, {self.tensor}: {self.actual} instead of {self.expected}"


def audit_dtypes(
    model: keras.Sequential, precision: Precision, *, softmax_dtype: str | None = None
) -> tuple[Mismatch, ...]:
    """Compares every dtype of a training step with what the precision asks for.

    One step on two black images is computed eagerly, and no weight is changed. Weights,
    gradients and slots have the precision's variable dtype, computations and activations its
    compute dtype, the loss at least float32. Model, precision and `softmax_dtype` are those of
    `cnnprec.build_model`. Returns all mismatches, in the order of the layers.
    """
    return tuple(
        Mismatch(layer, tensor, expected, str(actual))
        for layer, tensor, expected, actual in _pairs(model, precision, softmax_dtype)
        if str(actual) != expected
    )


def _pairs(
    model: keras.Sequential, precision: Precision, softmax_dtype: str | None
) -> Iterator[tuple[str, str, str, Any]]:
    """Yields (layer, tensor, expected dtype, actual dtype)."""
    stored = precision.variable_dtype
    step = compute_step(model, tf.zeros([2, *IMAGE_SHAPE], tf.uint8), tf.zeros([2], tf.uint8))
    for layer, activation in zip(model.layers, step.activations, strict=True):
        compute = precision.compute_dtype
        if softmax_dtype is not None and layer is model.layers[-1]:
            compute = softmax_dtype
        yield layer.name, "computation", compute, layer.compute_dtype
        yield layer.name, "activation", compute, activation.dtype.name
    weights = zip(weight_names(model), model.trainable_variables, step.gradients, strict=True)
    for (layer_name, name), variable, gradient in weights:
        yield layer_name, name, stored, variable.dtype
        # Keras casts the variable inside the layer, and the gradient of that cast casts back.
        yield layer_name, f"{name} gradient", stored, gradient.dtype.name
    yield "loss", "loss", precision.loss_dtype, step.loss.dtype.name
    for variable in model.optimizer.variables:
        if len(variable.shape):
            expected = stored
        elif variable.name in ("learning_rate", "dynamic_scale"):
            expected = "float32"  # Keras keeps scalars in floatx and casts them where they are used
        else:
            expected = variable.dtype if variable.dtype == "int32" else "int64"  # a counter
        yield "optimizer", variable.name, expected, variable.dtype
