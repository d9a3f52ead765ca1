"""Reductions and casts, as operations of probes."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.layers import Conv2D, Dense

from cnnprec.numerics.bounds import Arithmetic, Enclosure, exactly, summation
from cnnprec.numerics.operation import Inputs, Tensors, draw_activations, run_layer
from cnnprec.precision.formats import FORMATS, FloatFormat, get_format, round_to


@dataclasses.dataclass(frozen=True)
class Reduction:
    """`tf.reduce_sum` or `tf.reduce_mean` over some axes of random, one-sided numbers."""

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    mean: bool = False

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        return {"x": draw_activations(rng, self.shape, dtype)}

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        reduce = tf.reduce_mean if self.mean else tf.reduce_sum
        return lambda: reduce(inputs["x"], axis=list(self.axes))

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        return summation(inputs["x"], self.axes, arithmetic, mean=self.mean)


@dataclasses.dataclass(frozen=True)
class Counting:
    """The sum of n equal terms, by one of the routes that a CNN sums by.

    The result must be the exact sum, rounded once (docs/bounds.md, "Sums of equal terms").
    """

    route: str
    count: int  # a multiple of 64
    term: float = 2.0**-6
    first: float | None = None  # another first term, where a route sums over the leading axes

    @property
    def shape(self) -> tuple[int, ...]:
        return COUNTING_ROUTES[self.route][0](self.count)

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        x = np.full((self.count, math.prod(self.shape) // self.count), self.term)
        if self.first is not None:
            x[0] = self.first
        return {"x": x.reshape(self.shape)}

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        _, route, _ = COUNTING_ROUTES[self.route]
        compute = route(self.shape, dtype)
        return lambda: compute(inputs["x"])

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        name = arithmetic.format.name
        _, _, shape = COUNTING_ROUTES[self.route]
        first = self.term if self.first is None else self.first
        total = first + (self.count - 1) * self.term
        return exactly(np.full(shape, round_to(np.asarray(total), name)), name)


# Takes the shape of the terms and the dtype; returns what sums them.
_Route = Callable[[tuple[int, ...], str], Callable[[Any], Any]]


def _reduce(*axes: int) -> _Route:
    return lambda shape, dtype: lambda x: tf.reduce_sum(x, axis=list(axes))


def _by_layer(output: str, make: Callable[..., keras.layers.Layer], *settings: int) -> _Route:
    """Runs a layer whose kernel is all ones, or its gradient for an upstream of ones."""

    def route(shape: tuple[int, ...], dtype: str) -> Callable[[Any], Any]:
        layer = make(*settings, kernel_initializer="ones", dtype=dtype)
        layer.build(shape)
        return lambda x: run_layer(layer, x, None, output)

    return route


def _bias_gradient(shape: tuple[int, ...], dtype: str) -> Callable[[Any], Any]:
    """Bias gradient of a 1x1 Conv2D whose upstream gradient are the terms."""
    layer = Conv2D(shape[-1], 1, kernel_initializer="zeros", dtype=dtype)
    layer.build((None, None, None, 1))
    return lambda terms: run_layer(layer, terms[..., :1], terms, "bias_gradient")


COUNTING_ROUTES: Mapping[str, tuple[Callable[[int], tuple[int, ...]], _Route, tuple[int, ...]]] = {
    "sum-all": (lambda n: (n // 64, 64), _reduce(0, 1), ()),
    "sum-axis-0": (lambda n: (n, 8), _reduce(0), (8,)),
    "sum-axis-1": (lambda n: (8, n), _reduce(1), (8,)),
    "sum-axes-012": (lambda n: (n // 64, 8, 8, 8), _reduce(0, 1, 2), (8,)),
    "sum-axes-12": (lambda n: (2, n // 64, 64, 4), _reduce(1, 2), (2, 4)),
    "sum-axes-13": (lambda n: (2, n // 64, 4, 64), _reduce(1, 3), (2, 4)),
    "dense-forward": (lambda n: (4, n), _by_layer("forward", Dense, 8), (4, 8)),
    "dense-kernel-gradient": (lambda n: (n, 4), _by_layer("kernel_gradient", Dense, 8), (4, 8)),
    "conv2d-forward": (
        lambda n: (1, 8, 8, n // 64),
        _by_layer("forward", Conv2D, 4, 8),
        (1, 1, 1, 4),
    ),
    "conv2d-kernel-gradient": (
        lambda n: (n // 64, 8, 8, 2),
        _by_layer("kernel_gradient", Conv2D, 4, 1),
        (1, 1, 2, 4),
    ),
    "bias-gradient": (lambda n: (n // 64, 8, 8, 8), _bias_gradient, (8,)),
}
"""How to sum, by name: the shape of n terms, the computation in a dtype, the result's shape."""


@dataclasses.dataclass(frozen=True)
class Cast:
    """`tf.cast` from another dtype, the source: one rounding to nearest, ties to even.

    The kind is ``"random"``, ``"edges"``, or ``"double-rounding"``: float64 values a hair off a
    tie, which a cast by way of float32 rounds the wrong way.
    """

    source: str
    kind: str = "random"

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        if self.kind == "random":
            # From float16's smallest subnormal to its largest binade but one, so that
            # nothing overflows or leaves the normal range of the wider formats.
            scale = np.exp2(rng.integers(-24, 15, 4096))
            x = rng.uniform(1, 2, 4096) * rng.choice([-1, 1], 4096) * scale
            if get_format(dtype).significand_bits < FORMATS["float32"].significand_bits:
                # Double rounding has a probe of its own; here it would strike by chance.
                x = round_to(x, "float32")
        else:
            numbers = _edges if self.kind == "edges" else _near_ties
            x = np.array(numbers(get_format(dtype)))
        return {"x": round_to(x, self.source)}

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        return lambda: tf.cast(inputs["x"], dtype)

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        name = arithmetic.format.name
        return exactly(round_to(inputs["x"], name), name)


def _edges(fmt: FloatFormat) -> tuple[float, ...]:
    u, largest = fmt.unit_roundoff, fmt.max_finite
    # Ties between 1 and the next number and between that and the one after.
    even_below, even_above = 1 + u, 1 + 3 * u
    overflow = largest * (1 + u / 2 / (1 - u))  # the first number that becomes Inf
    below_overflow, tiny = largest, (fmt.smallest_normal, 0.0, 0.0, fmt.smallest_normal)
    if fmt.name == "float16":
        below_overflow, subnormal = 65519.99, fmt.smallest_subnormal
        # Half the smallest subnormal ties to zero; a little more does not.
        tiny = (subnormal, subnormal / 2, subnormal * 0.75, fmt.smallest_normal * (1 - 2 * u))
    return (
        *(even_below, even_above, -even_above),
        *(largest, overflow, -overflow, below_overflow),
        *tiny,
        *(-0.0, math.inf, -math.inf, math.nan),
    )


def _near_ties(fmt: FloatFormat) -> tuple[float, ...]:
    u, hair = fmt.unit_roundoff, 2.0**-40
    # float32 has a spacing of 2**-8 at float16's overflow, so it rounds the last to it.
    almost = fmt.max_finite * (1 + u / 2 / (1 - u)) * (1 - hair)
    return (1 + u + hair, -1 - u - hair, 1 + 3 * u - hair, almost)
