"""Numeric probes: single operations of TensorFlow and Keras, held to derived bounds.

A probe draws representable inputs from a seed, runs one operation in one dtype, and
compares the result with a reference in NumPy that knows nothing of TensorFlow. The layers
that the CNN uses are run as Keras layers, with their gradients; reductions and casts are
run as TensorFlow operations. `cnnprec.bounds` derives how large the error may be.

A probe above its bound is a wrong result, not noise. Results that TensorFlow itself gets
wrong today are listed in `KNOWN_DEFECTS`; their bounds are the same as everyone's.
"""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import hashlib
import math
import zlib
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnprec.bounds import (
    FORMATS,
    Accumulator,
    Arithmetic,
    Enclosure,
    FloatFormat,
    Tracked,
    arithmetic_for,
    contraction,
    discrepancy,
    exactly,
    get_format,
    round_to,
    summation,
)

Inputs = Mapping[str, NDArray[Any]]
"""Named inputs: float64 arrays of numbers representable in the dtype, or int64 labels."""

Tensors = Mapping[str, Any]
"""The same as tensors of the probe's dtype."""

DTYPES = tuple(FORMATS)
"""The dtypes that probes exist for."""


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


@dataclasses.dataclass(frozen=True)
class Probe:
    """One operation in one dtype.

    Attributes:
        name: What is computed, such as ``"conv2d.tutorial-1.kernel_gradient"``.
        dtype: Type of operands and result; for casts, of the result.
        operation: What to run and what to expect.
        mode: ``"eager"``, ``"graph"`` (`tf.function`) or ``"xla"`` (compiled).
        cpu_only: Whether the expectation is a convention measured on CPUs, which other
            devices may break without being wrong.
    """

    name: str
    dtype: str
    operation: Operation
    mode: str = "eager"
    cpu_only: bool = False

    @property
    def id(self) -> str:
        """The key in `PROBES`, such as ``"relu.forward[float16]"``."""
        return f"{self.name}[{self.dtype}]"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the main input."""
        return self.operation.shape


@dataclasses.dataclass(frozen=True)
class ProbeResult:
    """What one probe found.

    Attributes:
        name: Name of the probe.
        dtype: Its dtype.
        shape: Shape of its main input.
        seed: Seed of the inputs.
        device: Where it ran, ``"CPU"`` or ``"GPU"``.
        elements: Number of elements in the result.
        max_error_over_bound: Largest error divided by its bound. Above 1 the result is
            wrong; infinite where a NaN or infinity is missing, misplaced or unexpected.
        signed_mean_error: Mean error in units of the bound; near 0 when rounding is to
            nearest. NaN if nothing is finite.
        outward_mean_error: The same with the sign of the exact value taken out: negative
            when results are truncated, positive when they are too large.
        sha256: Hash of the bytes of the result, in C order.
        repeats: Whether a second run gave the same bytes.
        worst_index: Where the largest error over bound is.
        worst_computed: The value computed there.
        worst_exact: The exact value there.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    seed: int
    device: str
    elements: int
    max_error_over_bound: float
    signed_mean_error: float
    outward_mean_error: float
    sha256: str
    repeats: bool
    worst_index: tuple[int, ...]
    worst_computed: float
    worst_exact: float

    @property
    def id(self) -> str:
        """The key of the probe in `PROBES`."""
        return f"{self.name}[{self.dtype}]"

    @property
    def within_bound(self) -> bool:
        """Whether every element is as close to the exact result as it must be."""
        return self.max_error_over_bound <= 1.0

    def to_dict(self) -> dict[str, Any]:
        """A dict for strict JSON: tuples as lists, non-finite numbers as strings."""
        return {key: _to_json(value) for key, value in dataclasses.asdict(self).items()}

    def __str__(self) -> str:
        return (
            f"{self.id}: error over bound {self.max_error_over_bound:.3g} at "
            f"{list(self.worst_index)}: computed {self.worst_computed!r}, "
            f"exact {self.worst_exact!r}"
        )


def _to_json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


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
    """The sum of n equal terms of 2**-6, by one of the routes that a CNN sums by.

    Every partial sum is a multiple of 2**-6 and, for n up to 2**18, at most 2**12. That
    takes 18 bits, so an accumulator of 24 bits holds each one exactly, in any order and
    also when it truncates. The result must therefore be n * 2**-6 rounded once, and equal
    to it where the dtype can hold it (n = 4,096 and 65,536 in all, 43,264 * 2**-6 = 676
    too). An accumulator of 11 bits stops growing at 2**5, one of 8 bits at 2**2.

    Attributes:
        route: Key of `_COUNTING_ROUTES`.
        count: The number of terms, a multiple of 64.
    """

    route: str
    count: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array of terms."""
        return _COUNTING_ROUTES[self.route].shape(self.count)

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:  # noqa: ARG002
        """Returns the terms; nothing is random."""
        return {"x": np.full(self.shape, 2.0**-6)}

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        """Sums by the route."""
        return lambda: _COUNTING_ROUTES[self.route].compute(inputs["x"], dtype)

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:  # noqa: ARG002
        """The exact sum, rounded once."""
        name = arithmetic.format.name
        shape = _COUNTING_ROUTES[self.route].result
        return exactly(np.full(shape, round_to(np.asarray(self.count * 2.0**-6), name)), name)


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


_COUNTING_ROUTES: Mapping[str, _CountingRoute] = MappingProxyType(
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

_COPYING_ROUTES: Mapping[str, Callable[[Any, Any, str], Any]] = MappingProxyType(
    {"max-pooling": _through_max_pooling, "relu": _through_relu}
)
"""Routes that return x where it is positive."""

_ROUTES = {**_MULTIPLYING_ROUTES, **_ADDING_ROUTES, **_COPYING_ROUTES}


@dataclasses.dataclass(frozen=True)
class Value:
    """Chosen values through one operation, with the result known in advance.

    Attributes:
        route: Key of `_ROUTES`.
        kind: Key of `_VALUES`.
    """

    route: str
    kind: str

    @property
    def shape(self) -> tuple[int, ...]:
        """One value, or a few, as a vector."""
        return (len(_VALUES[self.kind].values(FORMATS["float32"])),)

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:  # noqa: ARG002
        """Returns the values and the neutral or chosen second operand."""
        values = _VALUES[self.kind]
        fmt = get_format(dtype)
        x = np.array(values.values(fmt))
        return {"x": x, "other": np.full(x.shape, values.operand(fmt, self.route))}

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        """Runs the route."""
        return lambda: _ROUTES[self.route](inputs["x"], inputs["other"], dtype)

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        """The expected values; a subnormal may be zero where the mode says so."""
        fmt = arithmetic.format
        if self.kind == "mantissa" and arithmetic.tensor_float_32:
            # TF32 keeps 11 significand bits and may round the operand to either neighbour.
            return Enclosure(inputs["x"], np.full(inputs["x"].shape, 2.0**-10))
        expected = np.array(_VALUES[self.kind].expected(fmt))
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


_VALUES: Mapping[str, _ValueRow] = MappingProxyType(
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


# --- the table --------------------------------------------------------------------------

_CONVOLUTIONS: tuple[tuple[str, tuple[int, ...], int, tuple[int, int], bool], ...] = (
    # name, input shape, filters, kernel, whether the input comes from a ReLU
    ("tutorial-1", (4, 28, 28, 1), 32, (3, 3), False),
    ("tutorial-2", (4, 13, 13, 32), 64, (3, 3), True),
    ("tutorial-3", (4, 5, 5, 64), 64, (3, 3), True),
    ("odd", (3, 9, 7, 5), 7, (2, 3), True),
)
_DENSE: tuple[tuple[str, tuple[int, ...], int], ...] = (
    ("tutorial-1", (32, 576), 64),
    ("tutorial-2", (32, 64), 10),
    ("odd", (67, 13), 5),
)
_GRADIENTS = ("forward", "input_gradient", "kernel_gradient", "bias_gradient")
_REDUCTIONS: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = (
    ("all", (8192,), (0,)),
    ("axis-0", (8192, 8), (0,)),
    ("axis-1", (8, 8192), (1,)),
    ("axes-012", (16, 13, 13, 8), (0, 1, 2)),
    ("axes-12", (4, 64, 64, 8), (1, 2)),
)


def _operations() -> Iterable[tuple[str, Operation, str]]:
    """Yields (name, operation, mode) of every probe that exists in all dtypes."""
    for name, shape, filters, kernel, post_relu in _CONVOLUTIONS:
        for output in _GRADIENTS:
            conv = Conv2D(shape, filters, kernel, output, post_relu=post_relu)
            yield f"conv2d.{name}.{output}", conv, "eager"
    # A batch of 64 sums 43,264 terms in the first layer's gradients.
    batch = Conv2D((64, 28, 28, 1), 32, output="kernel_gradient", one_sided_upstream=True)
    yield "conv2d.batch-64.kernel_gradient", batch, "eager"
    batch = dataclasses.replace(batch, output="bias_gradient")
    yield "conv2d.batch-64.bias_gradient", batch, "eager"
    # Graphs fuse convolution, bias and ReLU into one kernel.
    fused = Conv2D((4, 13, 13, 32), 64, activation="relu")
    yield "conv2d.fused-relu.forward", fused, "graph"
    for name, shape, units in _DENSE:
        for output in _GRADIENTS:
            yield f"dense.{name}.{output}", Dense(shape, units, output), "eager"
    yield "dense.graph.forward", Dense((32, 576), 64), "graph"
    yield "bias_add.images", BiasAdd((4, 13, 13, 32)), "eager"
    yield "bias_add.matrix", BiasAdd((32, 64)), "eager"
    for output in ("forward", "input_gradient"):
        for name, shape in (("tutorial-1", (4, 26, 26, 32)), ("tutorial-2", (4, 11, 11, 64))):
            yield f"max_pooling2d.{name}.{output}", MaxPooling2D(shape, output), "eager"
        yield f"relu.{output}", Relu((4, 26, 26, 32), output), "eager"
        yield f"softmax.{output}", Softmax((32, 10), output), "eager"
        yield f"cross_entropy.10-classes.{output}", CrossEntropy((32, 10), output), "eager"
        yield f"cross_entropy.100-classes.{output}", CrossEntropy((8, 100), output), "eager"
        yield f"cross_entropy.graph.{output}", CrossEntropy((32, 10), output), "graph"
    for name, shape, axes in _REDUCTIONS:
        yield f"reduce_sum.{name}", Reduction(shape, axes), "eager"
        yield f"reduce_mean.{name}", Reduction(shape, axes, mean=True), "eager"
    for route in _COUNTING_ROUTES:
        for count in (4096, 43_264, 65_536):
            yield f"counting.{route}.{count}", Counting(route, count), "eager"
    for output in ("weight", "momentum", "velocity"):
        yield f"adam.{output}", AdamUpdate(output=output), "eager"
    for route in _ROUTES:
        for kind in _VALUES:
            if kind == "overflow" and route in _COPYING_ROUTES:
                continue  # nothing is computed there
            if kind == "nan" and route == "max-pooling":
                continue  # see MaxPoolingNan
            yield f"value.{kind}.{route}", Value(route, kind), "eager"


def _probes() -> Iterable[Probe]:
    for dtype in DTYPES:
        for name, operation, mode in _operations():
            yield Probe(name, dtype, operation, mode)
        for source in DTYPES:
            yield Probe(f"cast.from-{source}.random", dtype, Cast(source))
            if get_format(source).significand_bits > get_format(dtype).significand_bits:
                yield Probe(f"cast.from-{source}.edges", dtype, Cast(source, "edges"))
        if dtype in ("float16", "bfloat16"):
            double = Cast("float64", "double-rounding")
            yield Probe("cast.from-float64.double-rounding", dtype, double)
        ties = (MaxPooling2D((4, 26, 26, 8), output, ties=True) for output in _GRADIENTS[:2])
        for operation in ties:
            # Which of several equal maxima gets the gradient is a convention.
            name = f"max_pooling2d.ties.{operation.output}"
            yield Probe(name, dtype, operation, cpu_only=operation.output != "forward")
        yield Probe("max_pooling2d.nan", dtype, MaxPoolingNan(), cpu_only=True)


PROBES: Mapping[str, Probe] = MappingProxyType({probe.id: probe for probe in _probes()})
"""Every probe by id."""


_DEFECTS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    # slug, dtypes, patterns of probe names
    (
        "bias-gradient-bfloat16",
        ("bfloat16",),
        ("conv2d.*.bias_gradient", "dense.*.bias_gradient", "counting.bias-gradient.*"),
    ),
    (
        "conv2d-gradients-accumulate-in-half",
        ("float16", "bfloat16"),
        (
            "conv2d.*.input_gradient",
            "conv2d.tutorial-*.kernel_gradient",
            "conv2d.odd.kernel_gradient",
            "counting.conv2d-kernel-gradient.43264",
            "counting.conv2d-kernel-gradient.65536",
        ),
    ),
    (
        # bfloat16 loses more than float16, so fewer terms are enough.
        "conv2d-gradients-accumulate-in-half",
        ("bfloat16",),
        ("conv2d.batch-64.kernel_gradient", "counting.conv2d-kernel-gradient.4096"),
    ),
    (
        "matmul-bfloat16-truncates",
        ("bfloat16",),
        ("dense.*.forward", "dense.*.input_gradient", "dense.*.kernel_gradient"),
    ),
    (
        "reduction-float16-leading-axes",
        ("float16",),
        (
            "reduce_*.axis-0",
            "reduce_*.axes-*",
            "counting.sum-axis-0.43264",
            "counting.sum-axis-0.65536",
            "counting.sum-axes-012.43264",
            "counting.sum-axes-012.65536",
            "counting.sum-axes-12.*",
        ),
    ),
    (
        "cast-from-float64-rounds-twice",
        ("float16", "bfloat16"),
        ("cast.from-float64.double-rounding",),
    ),
)

KNOWN_DEFECTS: Mapping[str, str] = MappingProxyType(
    {
        probe.id: slug
        for probe in PROBES.values()
        for slug, dtypes, patterns in _DEFECTS
        if probe.dtype in dtypes
        and any(fnmatch.fnmatchcase(probe.name, pattern) for pattern in patterns)
    }
)
"""Probes that exceed their bound on CPUs with TensorFlow 2.21 and Keras 3.15, by id.

The value names the defect in docs/known-defects.md. Measured on x86-64 with AVX2 and
without AVX-512. GPUs are not concerned.
"""


def run_probe(
    probe: Probe,
    *,
    seed: int,
    accumulator: Accumulator | None = None,
    tensor_float_32: bool = False,
) -> ProbeResult:
    """Runs one probe twice on TensorFlow's default device.

    Args:
        probe: The probe, such as a value of `PROBES`.
        seed: Seed of the inputs. Each probe draws its own numbers from it.
        accumulator: Where dot products and sums keep partial sums. By default float64 for
            float64, and float32 otherwise, as tensor cores do it where there is a GPU.
        tensor_float_32: Whether float32 products may use TF32. This is what the result is
            held to; TensorFlow's own setting is left alone.

    Returns:
        The result, within its bound or not.
    """
    device = default_device()
    arithmetic = arithmetic_for(
        probe.dtype, tensor_cores=device == "GPU", tensor_float_32=tensor_float_32
    )
    if accumulator is not None:
        arithmetic = dataclasses.replace(arithmetic, accumulator=accumulator)
    rng = np.random.default_rng([seed, zlib.crc32(probe.id.encode())])
    inputs = probe.operation.draw(rng, probe.dtype)
    computed, again = _compute_twice(probe, inputs)
    found = discrepancy(computed, probe.operation.enclose(inputs, arithmetic))
    return ProbeResult(
        name=probe.name,
        dtype=probe.dtype,
        shape=probe.shape,
        seed=seed,
        device=device,
        elements=computed.size,
        sha256=hashlib.sha256(computed.tobytes()).hexdigest(),
        repeats=computed.tobytes() == again.tobytes(),
        **dataclasses.asdict(found),
    )


def _compute_twice(probe: Probe, inputs: Inputs) -> tuple[NDArray[Any], NDArray[Any]]:
    """Runs the operation twice; a graph is traced once and run twice."""
    operation, dtype = probe.operation, probe.dtype
    source = operation.source if isinstance(operation, Cast) else dtype
    tensors = {
        name: tf.constant(
            values if values.dtype == np.int64 else values.astype(FORMATS[source].numpy_dtype)
        )
        for name, values in inputs.items()
    }
    run = operation.prepare(tensors, dtype)
    if probe.mode != "eager":
        run = tf.function(run, jit_compile=probe.mode == "xla", autograph=False)
    outputs = [run() for _ in range(2)]
    first, second = (np.asarray(output.numpy()) for output in outputs)
    return first, second


def run_probes(
    dtypes: Iterable[str] = DTYPES,
    names: Iterable[str] = ("*",),
    *,
    seed: int = 0,
    tensor_float_32: bool = False,
) -> tuple[ProbeResult, ...]:
    """Runs every probe of some dtypes whose name matches a pattern.

    Probes marked ``cpu_only`` are left out where there is a GPU.

    Args:
        dtypes: Names of dtypes.
        names: Names or shell-style patterns, such as ``"conv2d.*"``.
        seed: See `run_probe`.
        tensor_float_32: See `run_probe`.

    Raises:
        ValueError: A dtype is unknown or a pattern matches no probe. All of them are
            named at once.
    """
    chosen = select_probes(dtypes, names)
    on_cpu = default_device() == "CPU"
    return tuple(
        run_probe(probe, seed=seed, tensor_float_32=tensor_float_32)
        for probe in chosen
        if on_cpu or not probe.cpu_only
    )


def select_probes(
    dtypes: Iterable[str] = DTYPES, names: Iterable[str] = ("*",)
) -> tuple[Probe, ...]:
    """The probes that `run_probes` runs, in the order of `PROBES`.

    Raises:
        ValueError: As `run_probes`.
    """
    dtypes, names = tuple(dtypes), tuple(names)
    known = sorted({probe.name for probe in PROBES.values()})
    problems = [
        f"no probes for dtype {dtype!r}; there are some for {', '.join(DTYPES)}."
        for dtype in dtypes
        if dtype not in DTYPES
    ]
    for name in names:
        if not fnmatch.filter(known, name):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            problems.append(f"no probe matches {name!r}.{hint} Patterns such as 'conv2d.*' work.")
    if problems:
        raise ValueError("\n".join(problems))
    return tuple(
        probe
        for probe in PROBES.values()
        if probe.dtype in dtypes and any(fnmatch.fnmatchcase(probe.name, name) for name in names)
    )


def default_device() -> str:
    """Where TensorFlow places operations by default: ``"GPU"`` if there is one, or ``"CPU"``."""
    return "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
