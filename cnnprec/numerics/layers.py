"""The layers that the CNN uses, as operations of probes, with their gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnprec.numerics.arithmetic import Arithmetic
from cnnprec.numerics.bounds import Enclosure, contraction, exactly, summation
from cnnprec.numerics.operation import (
    Inputs,
    Tensors,
    draw_activations,
    draw_normal,
    runner,
    set_weights,
)
from cnnprec.numerics.tracked import Tracked
from cnnprec.precision.formats import round_to


def _patches(images: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """im2col: ``(n, h, w, c)`` to ``(n, oh, ow, height * width * c)``, valid padding."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (height, width), axis=(1, 2))
    n, oh, ow = windows.shape[:3]
    columns: NDArray[Any] = windows.transpose(0, 1, 2, 4, 5, 3).reshape(n, oh, ow, -1)
    return columns


@dataclasses.dataclass(frozen=True)
class Conv2D:
    """Keras' Conv2D with bias, valid padding and stride 1, or one of its gradients.

    Attributes:
        shape: Input shape ``(n, h, w, c)``.
        filters: Number of output channels.
        kernel_size: Height and width of the kernel.
        output: ``"forward"``, ``"input_gradient"``, ``"kernel_gradient"`` or
            ``"bias_gradient"``.
        activation: Activation of the forward pass, ``None`` or ``"relu"``. ReLU moves no
            two numbers apart, so it keeps the bound.
        post_relu: Whether the input is drawn as the output of a ReLU.
        one_sided_upstream: Whether the upstream gradient is non-negative, so that its sums
            grow with every term.
    """

    shape: tuple[int, ...]
    filters: int
    kernel_size: tuple[int, int] = (3, 3)
    output: str = "forward"
    activation: str | None = None
    post_relu: bool = True
    one_sided_upstream: bool = False

    @property
    def _output_shape(self) -> tuple[int, ...]:
        n, h, w, _ = self.shape
        return (n, h - self.kernel_size[0] + 1, w - self.kernel_size[1] + 1, self.filters)

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        """Draws input, kernel, bias and upstream gradient, standard normal."""
        draw = draw_activations if self.post_relu else draw_normal
        draw_upstream = draw_activations if self.one_sided_upstream else draw_normal
        return {
            "x": draw(rng, self.shape, dtype),
            "kernel": draw_normal(rng, (*self.kernel_size, self.shape[-1], self.filters), dtype),
            "bias": draw_normal(rng, (self.filters,), dtype),
            "upstream": draw_upstream(rng, self._output_shape, dtype),
        }

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        """Runs the layer, and the tape for a gradient."""
        layer = keras.layers.Conv2D(
            self.filters,
            self.kernel_size,
            activation=self.activation,
            kernel_initializer="zeros",
            dtype=dtype,
        )
        set_weights(layer, self.shape, inputs)
        return runner(layer, inputs, self.output)

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        """Encloses the result through im2col, so that each output is one dot product."""
        x, kernel, upstream = inputs["x"], inputs["kernel"], inputs["upstream"]
        height, width = self.kernel_size
        rows = upstream.reshape(-1, self.filters)
        if self.output == "bias_gradient":
            return summation(rows, (0,), arithmetic)
        if self.output == "kernel_gradient":
            columns = _patches(x, height, width).reshape(rows.shape[0], -1)
            return contraction(columns.T, rows, arithmetic).reshape(kernel.shape)
        if self.output == "input_gradient":
            margin = ((0, 0), (height - 1,) * 2, (width - 1,) * 2, (0, 0))
            columns = _patches(np.pad(upstream, margin), height, width)
            flipped = kernel[::-1, ::-1].transpose(0, 1, 3, 2).reshape(-1, x.shape[-1])
            columns = columns.reshape(-1, flipped.shape[0])
            return contraction(columns, flipped, arithmetic).reshape(x.shape)
        columns = _patches(x, height, width).reshape(rows.shape[0], -1)
        matrix = kernel.reshape(-1, self.filters)
        result = contraction(columns, matrix, arithmetic, bias=inputs["bias"])
        result = result.reshape(upstream.shape)
        if self.activation == "relu":
            return Enclosure(np.maximum(result.exact, 0), result.bound)
        return result


@dataclasses.dataclass(frozen=True)
class Dense:
    """Keras' Dense with bias, or one of its gradients.

    Attributes:
        shape: Input shape ``(n, k)``.
        units: Number of outputs.
        output: As for `Conv2D`.
    """

    shape: tuple[int, ...]
    units: int
    output: str = "forward"

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        """Draws input, kernel, bias and upstream gradient."""
        return {
            "x": draw_activations(rng, self.shape, dtype),
            "kernel": draw_normal(rng, (self.shape[1], self.units), dtype),
            "bias": draw_normal(rng, (self.units,), dtype),
            "upstream": draw_normal(rng, (self.shape[0], self.units), dtype),
        }

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        """Runs the layer, and the tape for a gradient."""
        layer = keras.layers.Dense(self.units, kernel_initializer="zeros", dtype=dtype)
        set_weights(layer, self.shape, inputs)
        return runner(layer, inputs, self.output)

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        """Encloses the matrix product that the output is."""
        x, kernel, upstream = inputs["x"], inputs["kernel"], inputs["upstream"]
        if self.output == "bias_gradient":
            return summation(upstream, (0,), arithmetic)
        if self.output == "kernel_gradient":
            return contraction(x.T, upstream, arithmetic)
        if self.output == "input_gradient":
            return contraction(upstream, kernel.T, arithmetic)
        return contraction(x, kernel, arithmetic, bias=inputs["bias"])


@dataclasses.dataclass(frozen=True)
class BiasAdd:
    """`keras.ops.add` of a vector to the last axis, as Conv2D and Dense add their bias.

    Attributes:
        shape: Input shape; the bias has the length of its last axis.
    """

    shape: tuple[int, ...]

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        """Draws input and bias."""
        return {
            "x": draw_normal(rng, self.shape, dtype),
            "bias": draw_normal(rng, self.shape[-1:], dtype),
        }

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:  # noqa: ARG002
        """Adds the bias."""
        return lambda: keras.ops.add(inputs["x"], inputs["bias"])

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        """One addition, one rounding: |error| <= u |x + b|."""
        total = Tracked.of(inputs["x"], arithmetic) + Tracked.of(inputs["bias"], arithmetic)
        return total.enclosure


@dataclasses.dataclass(frozen=True)
class MaxPooling2D:
    """Keras' 2x2 MaxPooling2D, or the gradient with respect to its input.

    Both copy numbers, so both are exact. The gradient goes to the largest element of each
    window; among equals to the first in row-major order. Odd rows and columns at the end
    belong to no window.

    Attributes:
        shape: Input shape ``(n, h, w, c)``.
        output: ``"forward"`` or ``"input_gradient"``.
        ties: Whether windows hold equal maxima; otherwise all four values differ.
    """

    shape: tuple[int, ...]
    output: str = "forward"
    ties: bool = False

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        """Draws input and upstream gradient."""
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

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        """Runs the layer, and the tape for the gradient."""
        layer = keras.layers.MaxPooling2D((2, 2), dtype=dtype)
        return runner(layer, inputs, self.output)

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        """Picks the first maximum of each window."""
        x = inputs["x"]
        n, h, w, c = x.shape
        even = x[:, : h // 2 * 2, : w // 2 * 2]
        windows = even.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 5, 2, 4)
        windows = windows.reshape(*windows.shape[:4], 4)
        if self.output == "forward":
            return exactly(windows.max(axis=-1), arithmetic.format.name)
        gradient = np.zeros(windows.shape)
        first = windows.argmax(axis=-1)[..., None]
        np.put_along_axis(gradient, first, inputs["upstream"][..., None], axis=-1)
        gradient = gradient.reshape(n, h // 2, w // 2, c, 2, 2).transpose(0, 1, 4, 2, 5, 3)
        full = np.zeros(x.shape)
        full[:, : h // 2 * 2, : w // 2 * 2] = gradient.reshape(even.shape)
        return exactly(full, arithmetic.format.name)


@dataclasses.dataclass(frozen=True)
class Relu:
    """Keras' ReLU activation, or its gradient, which is 0 at 0.

    Attributes:
        shape: Input shape; every tenth element is zero.
        output: ``"forward"`` or ``"input_gradient"``.
    """

    shape: tuple[int, ...]
    output: str = "forward"

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        """Draws input and upstream gradient."""
        x = draw_normal(rng, self.shape, dtype)
        x.reshape(-1)[::10] = 0.0
        return {"x": x, "upstream": draw_normal(rng, self.shape, dtype)}

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        """Runs the layer, and the tape for the gradient."""
        layer = keras.layers.Activation("relu", dtype=dtype)
        return runner(layer, inputs, self.output)

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        """ReLU and its gradient copy numbers or give zero, so they are exact."""
        x = inputs["x"]
        if self.output == "forward":
            return exactly(np.maximum(x, 0.0), arithmetic.format.name)
        return exactly(np.where(x > 0, inputs["upstream"], 0.0), arithmetic.format.name)


def _exponentials(logits: Tracked) -> Tracked:
    """exp(z - max z) for each row: the stable form that every softmax uses."""
    largest = Tracked.of(logits.exact.max(axis=1, keepdims=True), logits.arithmetic)
    return (logits - largest).exp()


@dataclasses.dataclass(frozen=True)
class Softmax:
    """Keras' softmax activation over the last axis, or its gradient.

    Attributes:
        shape: Input shape ``(n, classes)``.
        output: ``"forward"`` or ``"input_gradient"``.
    """

    shape: tuple[int, ...]
    output: str = "forward"

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        """Draws logits and upstream gradient."""
        return {
            "x": draw_normal(rng, self.shape, dtype),
            "upstream": draw_normal(rng, self.shape, dtype),
        }

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        """Runs the layer, and the tape for the gradient."""
        layer = keras.layers.Activation("softmax", dtype=dtype)
        return runner(layer, inputs, self.output)

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        """Running error analysis of e / sum(e) and of (dy - sum(dy p)) p."""
        e = _exponentials(Tracked.of(inputs["x"], arithmetic))
        p = e / e.sum(axis=1)
        if self.output == "forward":
            return p.enclosure
        upstream = Tracked.of(inputs["upstream"], arithmetic)
        return ((upstream - (upstream * p).sum(axis=1)) * p).enclosure


@dataclasses.dataclass(frozen=True)
class CrossEntropy:
    """Keras' SparseCategoricalCrossentropy per sample, from logits, or its gradient.

    Attributes:
        shape: Input shape ``(n, classes)``.
        output: ``"forward"`` or ``"input_gradient"``.
    """

    shape: tuple[int, ...]
    output: str = "forward"

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        """Draws logits, labels and one upstream factor per sample."""
        n, classes = self.shape
        return {
            "x": 4.0 * draw_normal(rng, self.shape, dtype),
            "labels": rng.integers(0, classes, n),
            "upstream": draw_normal(rng, (n,), dtype),
        }

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        """Runs the loss in the given dtype, and the tape for the gradient."""
        loss = keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="none", dtype=dtype
        )
        x = inputs["x"]

        def gradient() -> Any:
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = loss(inputs["labels"], x)
            return tape.gradient(y, x, output_gradients=inputs["upstream"])

        return gradient if self.output != "forward" else lambda: loss(inputs["labels"], x)

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        """Running error analysis of log(sum e) - (z_label - max) and (p - onehot) dy."""
        x, labels = inputs["x"], inputs["labels"]
        logits = Tracked.of(x, arithmetic)
        e = _exponentials(logits)
        total = e.sum(axis=1)
        if self.output == "forward":
            shifted = logits - Tracked.of(x.max(axis=1, keepdims=True), arithmetic)
            return (total.log() - shifted.at(labels)).enclosure.reshape((x.shape[0],))
        onehot = np.eye(x.shape[1])[labels]
        upstream = Tracked.of(inputs["upstream"][:, None], arithmetic)
        return ((e / total - Tracked.of(onehot, arithmetic)) * upstream).enclosure
