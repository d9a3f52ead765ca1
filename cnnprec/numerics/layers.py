"""The layers that the CNN uses, as operations of probes, with their gradients.

The ``output`` of an operation is ``"forward"`` or one of its gradients: ``"input_gradient"``
and, for layers with weights, ``"kernel_gradient"`` or ``"bias_gradient"``. The ``shape`` is that
of its input.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from cnnprec.numerics.bounds import Arithmetic, Enclosure, contraction, exactly, summation
from cnnprec.numerics.float64_step import patches, pool, unpool
from cnnprec.numerics.operation import Inputs, Tensors, draw_activations, draw_normal, run_layer
from cnnprec.numerics.tracked import Tracked
from cnnprec.precision.formats import round_to


@dataclasses.dataclass(frozen=True)
class Weighted:
    """Keras' Conv2D, with valid padding and stride 1, or without a kernel size its Dense.

    Each has a bias.
    """

    shape: tuple[int, ...]
    units: int  # or filters
    kernel_size: tuple[int, ...] = ()
    output: str = "forward"
    activation: str | None = None  # or ``"relu"``, which moves no two numbers apart
    post_relu: bool = True  # whether the input is drawn as the output of a ReLU
    one_sided_upstream: bool = False  # whether no upstream gradient is negative: its sums only grow

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        n, *sides, channels = self.shape
        draw = draw_activations if self.post_relu else draw_normal
        draw_upstream = draw_activations if self.one_sided_upstream else draw_normal
        places = (side - size + 1 for side, size in zip(sides, self.kernel_size, strict=True))
        return {
            "x": draw(rng, self.shape, dtype),
            "kernel": draw_normal(rng, (*self.kernel_size, channels, self.units), dtype),
            "bias": draw_normal(rng, (self.units,), dtype),
            "upstream": draw_upstream(rng, (n, *places, self.units), dtype),
        }

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        options = {"activation": self.activation, "kernel_initializer": "zeros", "dtype": dtype}
        if self.kernel_size:
            layer = keras.layers.Conv2D(self.units, self.kernel_size, **options)
        else:
            layer = keras.layers.Dense(self.units, **options)
        layer.build(self.shape)
        layer.kernel.assign(inputs["kernel"])
        layer.bias.assign(inputs["bias"])
        return lambda: run_layer(layer, inputs["x"], inputs["upstream"], self.output)

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        # Through im2col, so that each output is one dot product.
        x, kernel, upstream = inputs["x"], inputs["kernel"], inputs["upstream"]
        rows, size = upstream.reshape(-1, self.units), self.kernel_size
        if self.output == "bias_gradient":
            return summation(rows, (0,), arithmetic)
        if self.output == "input_gradient":
            columns = patches(np.pad(upstream, [(k - 1, k - 1) for k in (1, *size, 1)]), size)
            turned = np.flip(kernel, tuple(range(len(size)))).swapaxes(-1, -2)
            turned = turned.reshape(-1, x.shape[-1])
            return contraction(columns, turned, arithmetic).reshape(x.shape)
        columns = patches(x, size)
        if self.output == "kernel_gradient":
            return contraction(columns.T, rows, arithmetic).reshape(kernel.shape)
        matrix = kernel.reshape(-1, self.units)
        result = contraction(columns, matrix, arithmetic, bias=inputs["bias"])
        exact = np.maximum(result.exact, 0) if self.activation == "relu" else result.exact
        return Enclosure(exact, result.bound).reshape(upstream.shape)


@dataclasses.dataclass(frozen=True)
class BiasAdd:
    """`keras.ops.add` of a vector to the last axis, as Conv2D and Dense add their bias."""

    shape: tuple[int, ...]

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        shapes = {"x": self.shape, "bias": self.shape[-1:]}
        return {name: draw_normal(rng, shape, dtype) for name, shape in shapes.items()}

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        return lambda: keras.ops.add(inputs["x"], inputs["bias"])

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        total = Tracked.of(inputs["x"], arithmetic) + Tracked.of(inputs["bias"], arithmetic)
        return total.enclosure


@dataclasses.dataclass(frozen=True)
class _WithoutWeights:
    """What operations of an input alone share; by default Keras' activation of the class's name."""

    shape: tuple[int, ...]
    output: str = "forward"

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        return {name: draw_normal(rng, self.shape, dtype) for name in ("x", "upstream")}

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        function = self._function(inputs, dtype)
        return lambda: run_layer(function, inputs["x"], inputs["upstream"], self.output)

    def _function(self, inputs: Tensors, dtype: str) -> Any:
        return keras.layers.Activation(type(self).__name__.lower(), dtype=dtype)


@dataclasses.dataclass(frozen=True)
class MaxPooling2D(_WithoutWeights):
    """Keras' 2x2 MaxPooling2D of ``(n, h, w, c)``, or the gradient with respect to its input.

    Both are exact. The gradient goes to the largest element of each window; among equals, which
    only `ties` has, to the first in row-major order.
    """

    ties: bool = False

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        n, h, w, c = self.shape
        upstream = draw_normal(rng, (n, h // 2, w // 2, c), dtype)
        if self.ties:
            return {"x": rng.integers(0, 2, self.shape).astype(np.float64), "upstream": upstream}
        # The four values of a window lie in four binades, so they differ in every dtype;
        # the significand stays random.
        significand = round_to(rng.uniform(1, 2, self.shape), dtype)
        significand = np.where(significand == 2, 1.0, significand)
        rows, columns = np.indices((h, w))
        start = rng.integers(0, 4, (n, h // 2 + 1, w // 2 + 1, c))
        start = start.repeat(2, axis=1)[:, :h].repeat(2, axis=2)[:, :, :w]
        place = (2 * (rows % 2) + columns % 2)[None, :, :, None]
        sign = rng.choice([-1.0, 1.0], (n, 1, 1, c))
        return {"x": sign * np.ldexp(significand, (start + place) % 4), "upstream": upstream}

    def _function(self, inputs: Tensors, dtype: str) -> Any:
        return keras.layers.MaxPooling2D((2, 2), dtype=dtype)

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        result, place = pool(inputs["x"])
        if self.output != "forward":
            result = unpool(inputs["upstream"], place, self.shape)
        return exactly(result, arithmetic.format.name)


class Relu(_WithoutWeights):
    """ReLU, or its gradient, which is 0 at 0; every tenth element of the input is zero."""

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        inputs = super().draw(rng, dtype)
        inputs["x"].reshape(-1)[::10] = 0.0
        return inputs

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        copied = inputs["x" if self.output == "forward" else "upstream"]
        return exactly(np.where(inputs["x"] > 0, copied, 0.0), arithmetic.format.name)


def _shifted(x: Any, arithmetic: Arithmetic) -> Tracked:
    """Subtracts the largest of each row: the stable form that every softmax uses."""
    largest = x.max(axis=1, keepdims=True)
    return Tracked.of(x, arithmetic) - Tracked.of(largest, arithmetic)


class Softmax(_WithoutWeights):
    """Softmax over the last axis of a matrix, or its gradient, (dy - sum(dy p)) p."""

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        e = _shifted(inputs["x"], arithmetic).exp()
        p = e / e.sum(axis=1)
        if self.output == "forward":
            return p.enclosure
        upstream = Tracked.of(inputs["upstream"], arithmetic)
        return ((upstream - (upstream * p).sum(axis=1)) * p).enclosure


class CrossEntropy(_WithoutWeights):
    """Keras' SparseCategoricalCrossentropy per sample, from logits ``(n, classes)``.

    It is log(sum e) - (z_label - max z); or its gradient, (p - onehot) dy.
    """

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        n, classes = self.shape
        return {
            "x": 4.0 * draw_normal(rng, self.shape, dtype),
            "labels": rng.integers(0, classes, n),
            "upstream": draw_normal(rng, (n,), dtype),
        }

    def _function(self, inputs: Tensors, dtype: str) -> Any:
        loss = keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="none", dtype=dtype
        )
        return lambda x: loss(inputs["labels"], x)

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        x, labels = inputs["x"], inputs["labels"]
        shifted = _shifted(x, arithmetic)
        e = shifted.exp()
        total = e.sum(axis=1)
        if self.output == "forward":
            return (total.log() - shifted.at(labels)).enclosure.reshape((x.shape[0],))
        onehot = np.eye(x.shape[1])[labels]
        upstream = Tracked.of(inputs["upstream"][:, None], arithmetic)
        return ((e / total - Tracked.of(onehot, arithmetic)) * upstream).enclosure
