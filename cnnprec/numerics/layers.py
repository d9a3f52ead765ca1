"""The layers that the CNN uses, as operations of probes, with their gradients.

The ``output`` of an operation is ``"forward"`` or one of its gradients: ``"input_gradient"``
and, for layers with weights, ``"kernel_gradient"`` or ``"bias_gradient"``. The ``shape`` is that
of its input.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from cnnprec.numerics.arithmetic import Arithmetic
from cnnprec.numerics.bounds import Enclosure, contraction, exactly, summation
from cnnprec.numerics.operation import Inputs, Tensors, draw_activations, draw_normal, runner
from cnnprec.numerics.tracked import Tracked
from cnnprec.precision.formats import round_to


def _patches(images: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """im2col: ``(n, h, w, c)`` to ``(n * oh * ow, height * width * c)``, valid padding."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (height, width), axis=(1, 2))
    columns: NDArray[Any] = windows.transpose(0, 1, 2, 4, 5, 3)
    return columns.reshape(-1, height * width * images.shape[-1])


def _run_weighted(
    make: Callable[..., keras.layers.Layer],
    operation: "Conv2D | Dense",
    inputs: Tensors,
    dtype: str,
) -> Callable[[], Any]:
    layer = make(kernel_initializer="zeros", dtype=dtype)
    layer.build(operation.shape)
    layer.kernel.assign(inputs["kernel"])
    layer.bias.assign(inputs["bias"])
    return runner(layer, inputs, operation.output)


def _enclose_product(
    x: NDArray[Any], kernel: NDArray[Any], inputs: Inputs, output: str, arithmetic: Arithmetic
) -> Enclosure:
    """Encloses ``x @ kernel + bias``, of matrices, or its gradient for a weight."""
    upstream = inputs["upstream"].reshape(-1, kernel.shape[1])
    if output == "bias_gradient":
        return summation(upstream, (0,), arithmetic)
    if output == "kernel_gradient":
        return contraction(x.T, upstream, arithmetic).reshape(inputs["kernel"].shape)
    result = contraction(x, kernel, arithmetic, bias=inputs["bias"])
    return result.reshape(inputs["upstream"].shape)


@dataclasses.dataclass(frozen=True)
class Conv2D:
    """Keras' Conv2D with bias, valid padding and stride 1, or one of its gradients."""

    shape: tuple[int, ...]
    filters: int
    kernel_size: tuple[int, int] = (3, 3)
    output: str = "forward"
    activation: str | None = None  # or ``"relu"``, which moves no two numbers apart
    post_relu: bool = True  # whether the input is drawn as the output of a ReLU
    one_sided_upstream: bool = False  # whether no upstream gradient is negative: its sums only grow

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        n, h, w, c = self.shape
        height, width = self.kernel_size
        draw = draw_activations if self.post_relu else draw_normal
        draw_upstream = draw_activations if self.one_sided_upstream else draw_normal
        return {
            "x": draw(rng, self.shape, dtype),
            "kernel": draw_normal(rng, (height, width, c, self.filters), dtype),
            "bias": draw_normal(rng, (self.filters,), dtype),
            "upstream": draw_upstream(rng, (n, h - height + 1, w - width + 1, self.filters), dtype),
        }

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        make = functools.partial(
            keras.layers.Conv2D, self.filters, self.kernel_size, activation=self.activation
        )
        return _run_weighted(make, self, inputs, dtype)

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        # Through im2col, so that each output is one dot product.
        x, kernel, upstream = inputs["x"], inputs["kernel"], inputs["upstream"]
        height, width = self.kernel_size
        if self.output == "input_gradient":
            margin = ((0, 0), (height - 1,) * 2, (width - 1,) * 2, (0, 0))
            columns = _patches(np.pad(upstream, margin), height, width)
            flipped = kernel[::-1, ::-1].transpose(0, 1, 3, 2).reshape(-1, x.shape[-1])
            return contraction(columns, flipped, arithmetic).reshape(x.shape)
        columns, matrix = _patches(x, height, width), kernel.reshape(-1, self.filters)
        result = _enclose_product(columns, matrix, inputs, self.output, arithmetic)
        if self.activation == "relu":
            return Enclosure(np.maximum(result.exact, 0), result.bound)
        return result


@dataclasses.dataclass(frozen=True)
class Dense:
    """Keras' Dense with bias on ``(n, k)``, or one of its gradients."""

    shape: tuple[int, ...]
    units: int
    output: str = "forward"

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        return {
            "x": draw_activations(rng, self.shape, dtype),
            "kernel": draw_normal(rng, (self.shape[1], self.units), dtype),
            "bias": draw_normal(rng, (self.units,), dtype),
            "upstream": draw_normal(rng, (self.shape[0], self.units), dtype),
        }

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        make = functools.partial(keras.layers.Dense, self.units)
        return _run_weighted(make, self, inputs, dtype)

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        if self.output == "input_gradient":
            return contraction(inputs["upstream"], inputs["kernel"].T, arithmetic)
        return _enclose_product(inputs["x"], inputs["kernel"], inputs, self.output, arithmetic)


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
    """What operations of an input alone share."""

    shape: tuple[int, ...]
    output: str = "forward"

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        return {name: draw_normal(rng, self.shape, dtype) for name in ("x", "upstream")}

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        return runner(self._function(inputs, dtype), inputs, self.output)

    def _function(self, inputs: Tensors, dtype: str) -> Any:
        raise NotImplementedError


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
        x, dtype = inputs["x"], arithmetic.format.name
        height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
        # Where the four values of all windows lie, in row-major order.
        corners = [np.s_[:, i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)]
        windows = np.stack([x[corner] for corner in corners])
        if self.output == "forward":
            return exactly(windows.max(axis=0), dtype)
        gradient, first = np.zeros(x.shape), windows.argmax(axis=0)
        for place, corner in enumerate(corners):
            gradient[corner] = np.where(first == place, inputs["upstream"], 0.0)
        return exactly(gradient, dtype)


class _Activation(_WithoutWeights):
    def _function(self, inputs: Tensors, dtype: str) -> Any:
        return keras.layers.Activation(type(self).__name__.lower(), dtype=dtype)


class Relu(_Activation):
    """ReLU, or its gradient, which is 0 at 0; every tenth element of the input is zero."""

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        inputs = super().draw(rng, dtype)
        inputs["x"].reshape(-1)[::10] = 0.0
        return inputs

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        copied = inputs["x" if self.output == "forward" else "upstream"]
        return exactly(np.where(inputs["x"] > 0, copied, 0.0), arithmetic.format.name)


def _shifted(logits: Tracked) -> Tracked:
    """Subtracts the largest of each row: the stable form that every softmax uses."""
    return logits - Tracked.of(logits.exact.max(axis=1, keepdims=True), logits.arithmetic)


class Softmax(_Activation):
    """Softmax over the last axis of a matrix, or its gradient, (dy - sum(dy p)) p."""

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        e = _shifted(Tracked.of(inputs["x"], arithmetic)).exp()
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
        shifted = _shifted(Tracked.of(x, arithmetic))
        e = shifted.exp()
        total = e.sum(axis=1)
        if self.output == "forward":
            return (total.log() - shifted.at(labels)).enclosure.reshape((x.shape[0],))
        onehot = np.eye(x.shape[1])[labels]
        upstream = Tracked.of(inputs["upstream"][:, None], arithmetic)
        return ((e / total - Tracked.of(onehot, arithmetic)) * upstream).enclosure
