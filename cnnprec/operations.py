"""The operations that probes run: inputs, what TensorFlow computes, and the exact result.

The layers that the CNN uses are run as Keras layers, with their gradients; reductions and
casts are run as TensorFlow operations. The exact results come from NumPy and know nothing
of TensorFlow.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnprec.bounds import (
    FORMATS,
    Arithmetic,
    Enclosure,
    FloatFormat,
    Tracked,
    contraction,
    exactly,
    get_format,
    round_to,
    summation,
)

Inputs = Mapping[str, NDArray[Any]]
"""Named inputs: float64 arrays of numbers representable in the dtype, or int64 labels."""

Tensors = Mapping[str, Any]
"""The same as tensors of the probe's dtype."""


class Operation(Protocol):
    """What a probe runs, and what it should give.

    Implementations are frozen dataclasses, so that a probe stays a row of data.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the main input."""
        ...

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        """Draws inputs that the dtype represents exactly."""
        ...

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        """Builds what is needed and returns a function that runs the operation.

        The function takes nothing, returns a tensor, can be traced by `tf.function`, and
        gives the same result each time.
        """
        ...

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        """Returns the exact result and the bound on the error."""
        ...


# --- drawing inputs ---------------------------------------------------------------------


def _normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> NDArray[np.float64]:
    return round_to(rng.standard_normal(shape), dtype)


def _activations(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: str
) -> NDArray[np.float64]:
    """Numbers as they come out of ReLU: half of them zero, none negative.

    One-sided sums grow with every term, which shows lossy accumulation best.
    """
    return np.maximum(_normal(rng, shape, dtype), 0.0)


def _layer_gradient(layer: keras.layers.Layer, x: Any, upstream: Any, output: str) -> Any:
    """Gradient of a layer's output with respect to its input, kernel or bias."""
    if output == "input_gradient":
        source = x
    else:
        source = (layer.kernel if output == "kernel_gradient" else layer.bias).value
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    return tape.gradient(y, source, output_gradients=upstream)


def _runner(layer: keras.layers.Layer, inputs: Tensors, output: str) -> Callable[[], Any]:
    """A function that runs a built layer forward, or one of its gradients."""
    if output == "forward":
        return lambda: layer(inputs["x"])
    return lambda: _layer_gradient(layer, inputs["x"], inputs["upstream"], output)


def _set_weights(layer: keras.layers.Layer, shape: tuple[int, ...], inputs: Any) -> None:
    layer.build(shape)
    layer.kernel.assign(inputs["kernel"])
    layer.bias.assign(inputs["bias"])


# --- layers -----------------------------------------------------------------------------


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
        draw = _activations if self.post_relu else _normal
        draw_upstream = _activations if self.one_sided_upstream else _normal
        return {
            "x": draw(rng, self.shape, dtype),
            "kernel": _normal(rng, (*self.kernel_size, self.shape[-1], self.filters), dtype),
            "bias": _normal(rng, (self.filters,), dtype),
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
        _set_weights(layer, self.shape, inputs)
        return _runner(layer, inputs, self.output)

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
            "x": _activations(rng, self.shape, dtype),
            "kernel": _normal(rng, (self.shape[1], self.units), dtype),
            "bias": _normal(rng, (self.units,), dtype),
            "upstream": _normal(rng, (self.shape[0], self.units), dtype),
        }

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        """Runs the layer, and the tape for a gradient."""
        layer = keras.layers.Dense(self.units, kernel_initializer="zeros", dtype=dtype)
        _set_weights(layer, self.shape, inputs)
        return _runner(layer, inputs, self.output)

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
        return {"x": _normal(rng, self.shape, dtype), "bias": _normal(rng, self.shape[-1:], dtype)}

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
        upstream = _normal(rng, (n, h // 2, w // 2, c), dtype)
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
        return _runner(layer, inputs, self.output)

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
        x = _normal(rng, self.shape, dtype)
        x.reshape(-1)[::10] = 0.0
        return {"x": x, "upstream": _normal(rng, self.shape, dtype)}

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        """Runs the layer, and the tape for the gradient."""
        layer = keras.layers.Activation("relu", dtype=dtype)
        return _runner(layer, inputs, self.output)

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
            "x": _normal(rng, self.shape, dtype),
            "upstream": _normal(rng, self.shape, dtype),
        }

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        """Runs the layer, and the tape for the gradient."""
        layer = keras.layers.Activation("softmax", dtype=dtype)
        return _runner(layer, inputs, self.output)

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
            "x": 4.0 * _normal(rng, self.shape, dtype),
            "labels": rng.integers(0, classes, n),
            "upstream": _normal(rng, (n,), dtype),
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


# --- reductions and casts ---------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Reduction:
    """`tf.reduce_sum` or `tf.reduce_mean` over some axes of random numbers.

    Attributes:
        shape: Input shape.
        axes: Axes to reduce.
        mean: Whether to take the mean.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    mean: bool = False

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        """Draws one-sided numbers, as they come out of ReLU."""
        return {"x": _activations(rng, self.shape, dtype)}

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:  # noqa: ARG002
        """Reduces."""
        reduce = tf.reduce_mean if self.mean else tf.reduce_sum
        return lambda: reduce(inputs["x"], axis=list(self.axes))

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        """See `cnnprec.bounds.summation`."""
        return summation(inputs["x"], self.axes, arithmetic, mean=self.mean)


@dataclasses.dataclass(frozen=True)
class Counting:
    """The sum of n equal terms, by one of the routes that a CNN sums by.

    Every partial sum of terms of 2**-6 is a multiple of 2**-6 and, for n up to 2**18, at most
    2**12. That takes 18 bits, so an accumulator of 24 bits holds each one exactly, in any
    order and also when it truncates. The result must therefore be n * 2**-6 rounded once, and
    equal to it where the dtype can hold it (n = 4,096 and 65,536 in all, 43,264 * 2**-6 = 676
    too). An accumulator of 11 bits stops growing at 2**5, one of 8 bits at 2**2.

    Where the accumulator has 24 bits but is rounded to the dtype after every block of terms,
    equal terms come out right or wrong by the size of the block, which the processor's caches
    decide. With a first term of 2**11 and others of 2**-12, whole blocks are lost: up to 4,095
    of these terms are less than half the spacing of 11 bits there, and all 65,535 of them
    are 16. In 24 bits their sums are exact too, as multiples of 2**-12 below 2**12.

    Attributes:
        route: Key of `COUNTING_ROUTES`.
        count: The number of terms, a multiple of 64.
        term: The value of each.
        first: The value of the first one of each sum, where it is another; only for routes
            that sum over the leading axes.
    """

    route: str
    count: int
    term: float = 2.0**-6
    first: float | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array of terms."""
        return COUNTING_ROUTES[self.route].shape(self.count)

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:  # noqa: ARG002
        """Returns the terms; nothing is random."""
        x = np.full((self.count, math.prod(self.shape) // self.count), self.term)
        if self.first is not None:
            x[0] = self.first
        return {"x": x.reshape(self.shape)}

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        """Sums by the route."""
        return lambda: COUNTING_ROUTES[self.route].compute(inputs["x"], dtype)

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:  # noqa: ARG002
        """The exact sum, rounded once."""
        name = arithmetic.format.name
        shape = COUNTING_ROUTES[self.route].result
        first = self.term if self.first is None else self.first
        total = first + (self.count - 1) * self.term
        return exactly(np.full(shape, round_to(np.asarray(total), name)), name)


@dataclasses.dataclass(frozen=True)
class _CountingRoute:
    shape: Callable[[int], tuple[int, ...]]
    compute: Callable[[Any, str], Any]
    result: tuple[int, ...]


def _reduce(axes: tuple[int, ...]) -> Callable[[Any, str], Any]:
    return lambda x, dtype: tf.reduce_sum(x, axis=list(axes))  # noqa: ARG005


def _ones(shape: Iterable[int], dtype: str) -> Any:
    return tf.ones(list(shape), dtype)


def _unit_layer(layer: keras.layers.Layer, x: Any, output: str) -> Any:
    """Runs a layer whose kernel is all ones, or its gradient for an upstream of ones."""
    if output == "forward":
        return layer(x)
    return _layer_gradient(layer, x, tf.ones_like(layer(x)), output)


def _dense(x: Any, units: int, dtype: str, output: str) -> Any:
    layer = keras.layers.Dense(units, kernel_initializer="ones", dtype=dtype)
    return _unit_layer(layer, x, output)


def _conv(x: Any, filters: int, size: tuple[int, int], dtype: str, output: str) -> Any:
    layer = keras.layers.Conv2D(filters, size, kernel_initializer="ones", dtype=dtype)
    return _unit_layer(layer, x, output)


def _bias_gradient(terms: Any, dtype: str) -> Any:
    """Bias gradient of a 1x1 Conv2D whose upstream gradient is the given array."""
    layer = keras.layers.Conv2D(int(terms.shape[-1]), 1, kernel_initializer="zeros", dtype=dtype)
    layer.build((None, None, None, 1))
    return _layer_gradient(layer, terms[..., :1], terms, "bias_gradient")


COUNTING_ROUTES: Mapping[str, _CountingRoute] = MappingProxyType(
    {
        "sum-all": _CountingRoute(lambda n: (n // 64, 64), _reduce((0, 1)), ()),
        "sum-axis-0": _CountingRoute(lambda n: (n, 8), _reduce((0,)), (8,)),
        "sum-axis-1": _CountingRoute(lambda n: (8, n), _reduce((1,)), (8,)),
        "sum-axes-012": _CountingRoute(lambda n: (n // 64, 8, 8, 8), _reduce((0, 1, 2)), (8,)),
        "sum-axes-12": _CountingRoute(lambda n: (2, n // 64, 64, 4), _reduce((1, 2)), (2, 4)),
        "sum-axes-13": _CountingRoute(lambda n: (2, n // 64, 4, 64), _reduce((1, 3)), (2, 4)),
        "dense-forward": _CountingRoute(
            lambda n: (4, n), lambda x, t: _dense(x, 8, t, "forward"), (4, 8)
        ),
        "dense-kernel-gradient": _CountingRoute(
            lambda n: (n, 4), lambda x, t: _dense(x, 8, t, "kernel_gradient"), (4, 8)
        ),
        "conv2d-forward": _CountingRoute(
            lambda n: (1, 8, 8, n // 64),
            lambda x, t: _conv(x, 4, (8, 8), t, "forward"),
            (1, 1, 1, 4),
        ),
        "conv2d-kernel-gradient": _CountingRoute(
            lambda n: (n // 64, 8, 8, 2),
            lambda x, t: _conv(x, 4, (1, 1), t, "kernel_gradient"),
            (1, 1, 2, 4),
        ),
        "bias-gradient": _CountingRoute(lambda n: (n // 64, 8, 8, 8), _bias_gradient, (8,)),
    }
)


@dataclasses.dataclass(frozen=True)
class Cast:
    """`tf.cast` from another dtype: one rounding to nearest, ties to even.

    Attributes:
        source: The dtype to cast from.
        kind: ``"random"``, ``"edges"`` (ties, both sides of overflow, subnormals where the
            target is float16) or ``"double-rounding"`` (float64 values a hair off a tie,
            which a cast by way of float32 rounds the wrong way).
    """

    source: str
    kind: str = "random"

    @property
    def shape(self) -> tuple[int, ...]:
        """Random casts take 4,096 numbers, the others as many as there are edges."""
        return (4096,) if self.kind == "random" else (len(_CAST_EDGES[self.kind]),)

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        """Draws values over the common normal range, or takes the edges of ``dtype``."""
        if self.kind == "random":
            # From float16's smallest subnormal to its largest binade but one, so that
            # nothing overflows or leaves the normal range of the wider formats.
            scale = np.exp2(rng.integers(-24, 15, self.shape))
            x = rng.uniform(1, 2, self.shape) * rng.choice([-1, 1], self.shape) * scale
            if get_format(dtype).significand_bits < FORMATS["float32"].significand_bits:
                # Double rounding has a probe of its own; here it would strike by chance.
                x = round_to(x, "float32")
        else:
            x = np.array([edge(get_format(dtype)) for edge in _CAST_EDGES[self.kind]])
        return {"x": round_to(x, self.source)}

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        """Casts."""
        return lambda: tf.cast(inputs["x"], dtype)

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        """`round_to` rounds once, without any library's cast."""
        name = arithmetic.format.name
        return exactly(round_to(inputs["x"], name), name)


def _halfway(fmt: FloatFormat, odd: int) -> float:
    """Midpoint between 1 + 2 odd u and the next number up."""
    return 1.0 + (2 * odd + 1) * fmt.unit_roundoff


_CAST_EDGES: Mapping[str, tuple[Callable[[FloatFormat], float], ...]] = MappingProxyType(
    {
        "edges": (
            lambda f: _halfway(f, 0),  # tie, even neighbour below
            lambda f: _halfway(f, 1),  # tie, even neighbour above
            lambda f: -_halfway(f, 1),
            lambda f: f.max_finite,
            # The first number that rounds to infinity: 65520 for float16.
            lambda f: f.max_finite * (1 + f.unit_roundoff / 2 / (1 - f.unit_roundoff)),
            lambda f: -f.max_finite * (1 + f.unit_roundoff / 2 / (1 - f.unit_roundoff)),
            # A number just below: 65519.99 for float16.
            lambda f: 65519.99 if f.name == "float16" else f.max_finite,
            lambda f: f.smallest_subnormal if f.name == "float16" else f.smallest_normal,
            # Half the smallest subnormal ties to zero; a little more does not.
            lambda f: f.smallest_subnormal / 2 if f.name == "float16" else 0.0,
            lambda f: f.smallest_subnormal * 0.75 if f.name == "float16" else 0.0,
            lambda f: (
                f.smallest_normal * (1 - 2 * f.unit_roundoff)
                if f.name == "float16"
                else f.smallest_normal
            ),
            lambda f: -0.0,  # noqa: ARG005
            lambda f: math.inf,  # noqa: ARG005
            lambda f: -math.inf,  # noqa: ARG005
            lambda f: math.nan,  # noqa: ARG005
        ),
        "double-rounding": (
            lambda f: _halfway(f, 0) + 2.0**-40,
            lambda f: -_halfway(f, 0) - 2.0**-40,
            lambda f: _halfway(f, 1) - 2.0**-40,
            # float32 has a spacing of 2**-8 there, so it rounds this to the overflow.
            lambda f: (
                f.max_finite * (1 + f.unit_roundoff / 2 / (1 - f.unit_roundoff)) * (1 - 2.0**-40)
            ),
        ),
    }
)


# --- single values ----------------------------------------------------------------------


def _through_dense(x: Any, other: Any, dtype: str) -> Any:
    layer = keras.layers.Dense(1, use_bias=False, dtype=dtype)
    layer.build((None, 1))
    layer.kernel.assign(other[:1, None])
    return layer(x[:, None])[:, 0]


def _through_dense_gradient(x: Any, other: Any, dtype: str) -> Any:
    layer = keras.layers.Dense(1, use_bias=False, dtype=dtype)
    layer.build((None, 1))
    layer.kernel.assign(other[:1, None])
    ones = _ones((int(x.shape[0]), 1), dtype)
    return _layer_gradient(layer, ones, x[:, None], "input_gradient")[:, 0]


def _through_conv(x: Any, other: Any, dtype: str) -> Any:
    layer = keras.layers.Conv2D(1, 1, use_bias=False, dtype=dtype)
    layer.build((None, 1, 1, 1))
    layer.kernel.assign(other[:1, None, None, None])
    return layer(x[:, None, None, None])[:, 0, 0, 0]


def _through_conv_gradient(x: Any, other: Any, dtype: str) -> Any:
    layer = keras.layers.Conv2D(1, 1, use_bias=False, dtype=dtype)
    layer.build((None, 1, 1, 1))
    layer.kernel.assign(other[:1, None, None, None])
    ones = _ones((int(x.shape[0]), 1, 1, 1), dtype)
    upstream = x[:, None, None, None]
    return _layer_gradient(layer, ones, upstream, "input_gradient")[:, 0, 0, 0]


def _through_max_pooling(x: Any, other: Any, dtype: str) -> Any:  # noqa: ARG001
    tiled = tf.tile(x[:, None, None, None], [1, 2, 2, 1])
    return keras.layers.MaxPooling2D((2, 2), dtype=dtype)(tiled)[:, 0, 0, 0]


def _through_relu(x: Any, other: Any, dtype: str) -> Any:  # noqa: ARG001
    return keras.layers.Activation("relu", dtype=dtype)(x)


def _through_bias(x: Any, other: Any, dtype: str) -> Any:  # noqa: ARG001
    return keras.ops.add(x[:, None], other[:1])[:, 0]


def _through_sum(x: Any, other: Any, dtype: str) -> Any:  # noqa: ARG001
    return tf.reduce_sum(tf.stack([x, other], axis=1), axis=1)


_MULTIPLYING_ROUTES: Mapping[str, Callable[[Any, Any, str], Any]] = MappingProxyType(
    {
        "dense": _through_dense,
        "dense-input-gradient": _through_dense_gradient,
        "conv2d": _through_conv,
        "conv2d-input-gradient": _through_conv_gradient,
    }
)
"""Routes that compute x * other, as a contraction of one term."""

_ADDING_ROUTES: Mapping[str, Callable[[Any, Any, str], Any]] = MappingProxyType(
    {"bias": _through_bias, "sum": _through_sum}
)
"""Routes that compute x + other."""

COPYING_ROUTES: Mapping[str, Callable[[Any, Any, str], Any]] = MappingProxyType(
    {"max-pooling": _through_max_pooling, "relu": _through_relu}
)
"""Routes that return x where it is positive."""

ROUTES = {**_MULTIPLYING_ROUTES, **_ADDING_ROUTES, **COPYING_ROUTES}


@dataclasses.dataclass(frozen=True)
class Value:
    """Chosen values through one operation, with the result known in advance.

    Attributes:
        route: Key of `ROUTES`.
        kind: Key of `VALUES`.
    """

    route: str
    kind: str

    @property
    def shape(self) -> tuple[int, ...]:
        """One value, or a few, as a vector."""
        return (len(VALUES[self.kind].values(FORMATS["float32"])),)

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:  # noqa: ARG002
        """Returns the values and the neutral or chosen second operand."""
        values = VALUES[self.kind]
        fmt = get_format(dtype)
        x = np.array(values.values(fmt))
        return {"x": x, "other": np.full(x.shape, values.operand(fmt, self.route))}

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        """Runs the route."""
        return lambda: ROUTES[self.route](inputs["x"], inputs["other"], dtype)

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        """The expected values; a subnormal may be zero where the mode says so."""
        fmt = arithmetic.format
        if self.kind == "mantissa" and arithmetic.tensor_float_32:
            # TF32 keeps 11 significand bits and may round the operand to either neighbour.
            return Enclosure(inputs["x"], np.full(inputs["x"].shape, 2.0**-10))
        expected = np.array(VALUES[self.kind].expected(fmt))
        result = exactly(expected, fmt.name)
        if arithmetic.flushes_subnormals:
            tiny = np.abs(expected) < fmt.smallest_normal
            return Enclosure(expected, np.where(tiny, np.abs(expected), result.bound))
        return result


@dataclasses.dataclass(frozen=True)
class _ValueRow:
    values: Callable[[FloatFormat], tuple[float, ...]]
    expected: Callable[[FloatFormat], tuple[float, ...]]
    operand: Callable[[FloatFormat, str], float]


def _neutral(fmt: FloatFormat, route: str) -> float:  # noqa: ARG001
    return 0.0 if route in _ADDING_ROUTES else 1.0


def _doubling(fmt: FloatFormat, route: str) -> float:
    return fmt.max_finite if route in _ADDING_ROUTES else 2.0


def _last_bits(fmt: FloatFormat) -> tuple[float, ...]:
    u = fmt.unit_roundoff
    # Lowest bit set, all bits set, a pattern: each needs the full significand.
    return (1 + 2 * u, 2 - 2 * u, float(round_to(np.asarray(4 / 3), fmt.name)))


def _subnormals(fmt: FloatFormat) -> tuple[float, ...]:
    tiny = fmt.smallest_subnormal
    return (tiny, 3 * tiny, fmt.smallest_normal - tiny)


VALUES: Mapping[str, _ValueRow] = MappingProxyType(
    {
        "mantissa": _ValueRow(_last_bits, _last_bits, _neutral),
        "subnormal": _ValueRow(_subnormals, _subnormals, _neutral),
        "largest": _ValueRow(lambda f: (f.max_finite,), lambda f: (f.max_finite,), _neutral),
        "overflow": _ValueRow(lambda f: (f.max_finite,), lambda f: (math.inf,), _doubling),  # noqa: ARG005
        "infinity": _ValueRow(lambda f: (math.inf,), lambda f: (math.inf,), _neutral),  # noqa: ARG005
        "nan": _ValueRow(lambda f: (math.nan,), lambda f: (math.nan,), _neutral),  # noqa: ARG005
    }
)


@dataclasses.dataclass(frozen=True)
class MaxPoolingNan:
    """Keras' MaxPooling2D of a window [1, NaN, 2, 3], which CPUs reduce to 3."""

    shape: tuple[int, ...] = (1, 2, 2, 1)

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:  # noqa: ARG002
        """Returns the window."""
        return {"x": np.array([1.0, math.nan, 2.0, 3.0]).reshape(self.shape)}

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        """Runs the layer."""
        layer = keras.layers.MaxPooling2D((2, 2), dtype=dtype)
        return lambda: layer(inputs["x"])

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:  # noqa: ARG002
        """The largest number, the NaN ignored."""
        return exactly(np.full((1, 1, 1, 1), 3.0), arithmetic.format.name)


# --- optimizer --------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class AdamUpdate:
    """One step of Keras' Adam from given slots.

    The hyper-parameters are powers of two and their complements, which every dtype holds
    exactly; so the formula is the same in all and only its rounding is measured.

    Attributes:
        shape: Shape of the variable.
        output: ``"weight"``, ``"momentum"`` or ``"velocity"`` after the step.
        steps_before: Number of steps that the optimizer counts as done.
    """

    shape: tuple[int, ...] = (64, 16)
    output: str = "weight"
    steps_before: int = 3

    learning_rate = 2.0**-9
    beta_1 = 1 - 2.0**-3
    beta_2 = 1 - 2.0**-7
    epsilon = 2.0**-13

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        """Draws weight, gradient and slots; v stays normal in float16."""
        return {
            "x": _normal(rng, self.shape, dtype),
            "gradient": _normal(rng, self.shape, dtype),
            "momentum": round_to(rng.standard_normal(self.shape) / 4, dtype),
            "velocity": round_to(rng.uniform(2.0**-6, 1, self.shape), dtype),
        }

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        """Builds the optimizer; each run sets the state before its step."""
        variable = keras.Variable(inputs["x"], dtype=dtype)
        optimizer = keras.optimizers.Adam(
            self.learning_rate, self.beta_1, self.beta_2, self.epsilon
        )
        optimizer.build([variable])
        momentum, velocity = optimizer._momentums[0], optimizer._velocities[0]
        results = {"weight": variable, "momentum": momentum, "velocity": velocity}

        def step() -> Any:
            optimizer.iterations.assign(self.steps_before)
            variable.assign(inputs["x"])
            momentum.assign(inputs["momentum"])
            velocity.assign(inputs["velocity"])
            optimizer.apply_gradients([(inputs["gradient"], variable)])
            return tf.identity(results[self.output].value)

        return step

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        """Running error analysis of Adam as Keras writes it (Kingma & Ba, section 2)."""

        def of(values: NDArray[Any] | float) -> Tracked:
            return Tracked.of(values, arithmetic)

        gradient, m, v = of(inputs["gradient"]), of(inputs["momentum"]), of(inputs["velocity"])
        m = m + (gradient - m) * (1 - self.beta_1)
        v = v + (gradient * gradient - v) * (1 - self.beta_2)
        if self.output != "weight":
            return (m if self.output == "momentum" else v).enclosure
        step = self.steps_before + 1
        first = 1.0 - of(self.beta_1).power(step)
        second = 1.0 - of(self.beta_2).power(step)
        rate = of(self.learning_rate) * second.sqrt() / first
        return (of(inputs["x"]) - m * rate / (v.sqrt() + self.epsilon)).enclosure
