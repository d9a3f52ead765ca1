"""The operations of a step, counted from the layers, are TensorFlow's own count."""

import math
from collections import Counter
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnnprec.precision.precisions import PRECISIONS
from cnnprec.training.model import build_model, repeated
from cnnprec.training.operations import foreign_dtypes, step_launches, step_parts

BATCH = 32


def counted_by_tensorflow(model) -> Counter:
    """Floating-point operations of one step by the type of operation, as the profiler has them."""
    images = tf.TensorSpec([BATCH, 28, 28, 1], tf.uint8)
    labels = tf.TensorSpec([BATCH], tf.uint8)
    step = tf.function(model.train_step, jit_compile=False, autograph=False)
    graph = step.get_concrete_function((images, labels)).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    due = [tf.compat.v1.profiler.profile(graph, cmd="op", options=options)]
    found: Counter = Counter()
    while due:
        node = due.pop()
        found[node.name] += node.float_ops
        due += node.children
    return found


@pytest.mark.parametrize("precision", ["double", "single", "mixed_half"])
def test_operations_are_those_that_tensorflow_counts(precision):
    model = build_model(precision)
    parts = {part.name: part for part in step_parts(model, BATCH)}
    theirs = counted_by_tensorflow(model)
    forward = [part for name, part in parts.items() if name.endswith("forward")]
    convolved = sum(part.operations for part in forward if part.kind == "convolution")
    assert theirs["Conv2D"] == convolved
    # TensorFlow counts forward and both gradients of the dense layers in one.
    dense = [part for part in parts.values() if part.kind == "product"]
    assert theirs["MatMul"] == sum(part.operations for part in dense)
    # Of the gradients it multiplies at every place of the input, the border included, where a
    # convolution without padding has no product. And it counts the gradient of the images, which
    # nothing needs: the graph loses it before it runs.
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    border = {
        layer.name: math.prod(layer.input.shape[1:3]) / math.prod(layer.output.shape[1:3])
        for layer in convolutions
    }
    one_gradient = sum(parts[f"{name} forward"].operations * more for name, more in border.items())
    assert theirs["Conv2DBackpropFilter"] == pytest.approx(one_gradient, rel=1e-12)
    assert theirs["Conv2DBackpropInput"] == pytest.approx(one_gradient, rel=1e-12)
    for name in border:
        gradients = 1 if name == "conv1" else 2
        forward = parts[f"{name} forward"].operations
        assert parts[f"{name} backward"].operations == gradients * forward
        assert parts[f"{name} backward"].kind == "gradient"


def test_step_has_the_operations_and_bytes_worked_out_by_hand():
    found = {part.name: part for part in step_parts(build_model("mixed_half"), batch=2)}
    # 11 x 11 places, 3 x 3 x 32 products each, 64 channels, 2 images.
    assert found["conv2 forward"].operations == 2 * 2 * 11 * 11 * 3 * 3 * 32 * 64
    inputs, outputs, weights = 2 * 13 * 13 * 32, 2 * 11 * 11 * 64, 3 * 3 * 32 * 64 + 64
    assert found["conv2 forward"].traffic == 2 * (inputs + outputs + weights)
    assert found["conv2 backward"].traffic == 2 * (2 * inputs + 2 * outputs + weights)
    assert found["pixels forward"].traffic == 2 * 28 * 28 * (1 + 2)  # bytes in, float16 out
    assert "pixels backward" not in found
    assert not any(name.startswith("flatten") for name in found)
    assert found["optimizer"].traffic == 7 * 93_322 * 4  # float32 weights
    assert sum(part.operations for part in found.values()) == 2 * (
        2 * 3 * (26 * 26 * 9 * 32 + 11 * 11 * 288 * 64 + 9 * 576 * 64 + 576 * 64 + 640)
        - 2 * 26 * 26 * 9 * 32
    )


@pytest.mark.parametrize("compiled", [False, True])
def test_launches_grow_with_the_operations_that_are_not_compiled(compiled):
    def launches(operations: int) -> int:
        def work(value):
            for _ in range(operations):
                value = tf.maximum(value, 0.5)
            return tf.reshape(value, [4])  # launches nothing

        iterator = iter(tf.data.Dataset.from_tensors(np.zeros([2, 2], np.float32)).repeat())
        model = SimpleNamespace(jit_compile=compiled, take_steps=repeated(work, compiled))
        return step_launches(model, iterator)

    assert launches(5) - launches(2) == (0 if compiled else 3)
    if compiled:
        assert launches(5) == 1


def traced(precision: str, jit: str):
    model = build_model(precision, jit=jit)
    batch = np.zeros([4, 28, 28, 1], np.uint8), np.zeros([4], np.uint8)
    batches = tf.data.Dataset.from_tensors(batch).repeat()
    model.fit(batches, steps_per_epoch=1, shuffle=False, verbose=0)
    return model, iter(batches), PRECISIONS[precision].compute_dtype


@pytest.mark.parametrize("precision", ["double", "single", "mixed_half", "bfloat16_stable"])
@pytest.mark.parametrize("jit", ["off", "on"])
def test_step_computes_in_the_dtype_of_its_precision(precision, jit):
    model, iterator, dtype = traced(precision, jit)
    assert foreign_dtypes(model, iterator, dtype) == []


def test_layer_that_computes_in_another_dtype_is_named(monkeypatch):
    original = tf.nn.convolution

    def wide(inputs, filters, *rest, **options):
        wider = (tf.cast(t, tf.float32) for t in (inputs, filters))
        return tf.cast(original(*wider, *rest, **options), inputs.dtype)

    monkeypatch.setattr(tf.nn, "convolution", wide)
    assert foreign_dtypes(*traced("mixed_half", "off")) == [
        f"{operation} of the training step computes in float32, not in float16"
        for operation in ("Conv2D", "Conv2DBackpropFilter", "Conv2DBackpropInput")
    ]
