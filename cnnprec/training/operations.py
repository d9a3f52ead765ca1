"""What a training step has to do: floating-point operations, memory traffic, launches."""

import math
from typing import Any

import keras
import tensorflow as tf

from cnnprec.records.limits import StepPart

# Adam reads the gradient, the weight and two moments, and writes the last three.
_ADAM_ACCESSES = 7
# Nodes of a graph that put no work on a device.
_FREE = {
    *("Const", "Placeholder", "NoOp", "Identity", "IdentityN", "ReadVariableOp", "Reshape"),
    *("Squeeze", "ExpandDims", "ShapeN", "StatefulPartitionedCall", "While", "If"),
}


def step_parts(model: keras.Sequential, batch: int) -> tuple[StepPart, ...]:
    """Counts one training step from the shapes of the layers.

    The operations are those of convolutions and matrix products: forward two for each
    multiplication with a weight; backward as many for the gradient of the weights, and as many for
    that of the inputs, which the first layer with weights does not need. The traffic is the least:
    a layer reads its inputs and weights and writes its outputs; backward it reads inputs, outputs
    and their gradient, and writes the gradients of inputs and weights.

    Args:
        model: Of layers as `cnnprec.training.model.build_model` has them, built.
        batch: Images per step.
    """
    parts: list[StepPart] = []
    weight_bytes = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Flatten):
            continue  # the same memory in another shape
        inputs, outputs = (batch * math.prod(t.shape[1:]) for t in (layer.input, layer.output))
        own = sum(math.prod(v.shape) for v in layer.trainable_variables)
        convolution = isinstance(layer, keras.layers.Conv2D)
        places = math.prod(layer.output.shape[1:-1]) if convolution else 1
        operations = 2 * batch * places * math.prod(layer.kernel.shape) if own else 0
        size = tf.as_dtype(layer.compute_dtype).size
        traffic = inputs * tf.as_dtype(layer.input.dtype).size + (own + outputs) * size
        kind: Any = "convolution" if convolution else "product"
        parts.append(StepPart(f"{layer.name} forward", kind, operations, traffic))
        if own or weight_bytes:  # else nothing before it is trained
            gradients = 2 if weight_bytes else 1
            traffic = (gradients * inputs + 2 * outputs + own) * size
            name, kind = f"{layer.name} backward", "gradient" if convolution else "product"
            parts.append(StepPart(name, kind, gradients * operations, traffic))
        weight_bytes += own * tf.as_dtype(layer.variable_dtype).size
    return (*parts, StepPart("optimizer", "product", 0, _ADAM_ACCESSES * weight_bytes))


def step_launches(model: Any, iterator: Any) -> int:
    """How many operations a step launches one by one; what XLA has compiled counts as one.

    Args:
        model: A `cnnprec.training.model.TutorialCNN` that has trained on the iterator.
        iterator: Of batches.
    """
    if model.jit_compile:
        return 1
    return sum(node.op not in _FREE for node in _traced(model, iterator))


def foreign_dtypes(model: Any, iterator: Any, dtype: str) -> list[str]:
    """Sentences on convolutions and products of the training step that are not of this dtype.

    The model and the iterator are those of `step_launches`.
    """
    found = {
        (node.op, tf.as_dtype(node.attr["T"].type).name)
        for node in _traced(model, iterator)
        if node.op.startswith(("Conv2D", "MatMul"))
    }
    return [
        f"{operation} of the training step computes in {other}, not in {dtype}"
        for operation, other in sorted(found)
        if other != dtype
    ]


def _traced(model: Any, iterator: Any) -> list[Any]:
    """The nodes of a training step's graph."""
    traced = model.take_steps.get_concrete_function(iterator, tf.constant(1))
    functions = traced.graph.as_graph_def().library.function
    return [node for function in functions for node in function.node_def]
