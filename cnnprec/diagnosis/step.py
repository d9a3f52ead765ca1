"""One training step, computed eagerly with all its tensors at hand."""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cnnprec.precision.formats import Real


@dataclasses.dataclass(frozen=True)
class Step:
    """The tensors of one training step, before the optimizer changes any weight."""

    activations: list[Any]  # the outputs of the layers, in order
    loss: Any  # the batch's mean, not scaled; the gradients are those of the scaled one
    activation_gradients: list[Any]  # None where nothing flows back
    gradients: list[Any]  # of the weights


def compute_step(model: keras.Sequential, images: Any, labels: Any) -> Step:
    """One forward and one backward pass of a compiled model, eagerly; no weight is changed."""
    activations = []
    with tf.GradientTape() as tape:
        tensor = tf.convert_to_tensor(images)
        for layer in model.layers:
            tensor = layer(tensor)
            tape.watch(tensor)
            activations.append(tensor)
        loss = model.loss(labels, tensor)
        scaled = model.optimizer.scale_loss(loss)
    found = tape.gradient(scaled, [*activations, *(v.value for v in model.trainable_variables)])
    count = len(activations)
    return Step(activations, loss, found[:count], found[count:])


def slots_of(optimizer: keras.optimizers.Optimizer, variables: list[Any]) -> dict[str, list[Any]]:
    """The optimizer's slots by kind, in the order of the weights; Keras tells only by names."""
    slots: dict[str, list[Any]] = {}
    for variable in variables:
        prefix = variable.path.replace("/", "_") + "_"
        for slot in optimizer.variables:
            if slot.name.startswith(prefix):
                slots.setdefault(slot.name.removeprefix(prefix), []).append(slot)
    return slots


def weight_names(model: keras.Sequential) -> list[tuple[str, str]]:
    """Layer and name of each trainable weight, in order."""
    return [(v.path.split("/")[-2], v.name) for v in model.trainable_variables]


def as_float64(value: Any) -> Real:
    """The numbers of a tensor or variable; float64 holds those of every other type exactly."""
    # NumPy's cast: TensorFlow's may flush subnormal numbers to zero.
    return np.asarray(value).astype(np.float64)
