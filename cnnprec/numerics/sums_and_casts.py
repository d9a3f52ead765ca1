"""Reductions and casts, as operations of probes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cnnprec.numerics.arithmetic import Arithmetic
from cnnprec.numerics.bounds import Enclosure, exactly, summation
from cnnprec.numerics.operation import Inputs, Tensors, draw_activations, layer_gradient
from cnnprec.precision.formats import FORMATS, FloatFormat, get_format, round_to


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
        return {"x": draw_activations(rng, self.shape, dtype)}

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


def _unit_layer(layer: keras.layers.Layer, x: Any, output: str) -> Any:
    """Runs a layer whose kernel is all ones, or its gradient for an upstream of ones."""
    if output == "forward":
        return layer(x)
    return layer_gradient(layer, x, tf.ones_like(layer(x)), output)


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
    return layer_gradient(layer, terms[..., :1], terms, "bias_gradient")


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
