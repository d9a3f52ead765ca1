"""Special values (NaN, infinities, signed zeros, subnormals) sent through operations."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cnnprec.numerics.bounds import Arithmetic, Enclosure, exactly
from cnnprec.numerics.operation import Inputs, Tensors, run_layer
from cnnprec.precision.formats import FloatFormat, get_format, round_to

# Takes the dtype; returns what makes of the values and the second operand a vector as long.
_Route = Callable[[str], Callable[[Any, Any], Any]]


def _by_weight(
    output: str, rank: int, make: Callable[..., keras.layers.Layer], *settings: int
) -> _Route:
    """Multiplies by the one weight of a layer; its input has `rank` axes behind the batch."""

    def route(dtype: str) -> Callable[[Any, Any], Any]:
        layer = make(*settings, use_bias=False, dtype=dtype)
        layer.build((None, *[1] * rank))

        def compute(x: Any, other: Any) -> Any:
            column = tf.reshape(x, [-1, *[1] * rank])
            layer.kernel.assign(tf.reshape(other[:1], layer.kernel.shape))
            given = column if output == "forward" else tf.ones_like(column)
            return tf.reshape(run_layer(layer, given, column, output), [-1])

        return compute

    return route


def _max_pooling(dtype: str) -> Callable[[Any, Any], Any]:
    layer = keras.layers.MaxPooling2D((2, 2), dtype=dtype)
    return lambda x, _: layer(tf.tile(x[:, None, None, None], [1, 2, 2, 1]))[:, 0, 0, 0]


def _relu(dtype: str) -> Callable[[Any, Any], Any]:
    layer = keras.layers.Activation("relu", dtype=dtype)
    return lambda x, _: layer(x)


_ADDING_ROUTES: Mapping[str, _Route] = {
    "bias": lambda _: lambda x, other: keras.ops.add(x[:, None], other[:1])[:, 0],
    "sum": lambda _: lambda x, other: tf.reduce_sum(tf.stack([x, other], axis=1), axis=1),
}
"""Routes that compute x + other."""

COPYING_ROUTES: Mapping[str, _Route] = {"max-pooling": _max_pooling, "relu": _relu}
"""Routes that return x where it is positive."""

ROUTES: Mapping[str, _Route] = {
    # x * other, as a contraction of one term.
    "dense": _by_weight("forward", 1, keras.layers.Dense, 1),
    "dense-input-gradient": _by_weight("input_gradient", 1, keras.layers.Dense, 1),
    "conv2d": _by_weight("forward", 3, keras.layers.Conv2D, 1, 1),
    "conv2d-input-gradient": _by_weight("input_gradient", 3, keras.layers.Conv2D, 1, 1),
    **_ADDING_ROUTES,
    **COPYING_ROUTES,
}


def _last_bits(fmt: FloatFormat) -> tuple[float, ...]:
    u = fmt.unit_roundoff
    # Lowest bit set, all bits set, a pattern: each needs the full significand.
    return (1 + 2 * u, 2 - 2 * u, float(round_to(np.asarray(4 / 3), fmt.name)))


def _subnormals(fmt: FloatFormat) -> tuple[float, ...]:
    tiny = fmt.smallest_subnormal
    return (tiny, 3 * tiny, fmt.smallest_normal - tiny)


VALUES: Mapping[str, Callable[[FloatFormat], tuple[float, ...]]] = {
    "mantissa": _last_bits,
    "subnormal": _subnormals,
    "largest": lambda fmt: (fmt.max_finite,),
    "overflow": lambda fmt: (fmt.max_finite,),  # is doubled; the others are left as they are
    "infinity": lambda fmt: (math.inf,),
    "nan": lambda fmt: (math.nan,),
}


@dataclasses.dataclass(frozen=True)
class Value:
    """Values of a kind of `VALUES` through one of `ROUTES`, with the result known in advance."""

    route: str
    kind: str

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        x = np.array(VALUES[self.kind](get_format(dtype)))
        neutral, doubling = (0.0, x) if self.route in _ADDING_ROUTES else (1.0, 2.0)
        return {"x": x, "other": np.full(x.shape, doubling if self.kind == "overflow" else neutral)}

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        compute = ROUTES[self.route](dtype)
        return lambda: compute(inputs["x"], inputs["other"])

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        fmt, x = arithmetic.format, inputs["x"]
        if self.kind == "mantissa" and arithmetic.tensor_float_32:
            # TF32 keeps 11 significand bits and may round the operand to either neighbour.
            return Enclosure(x, np.full(x.shape, 2.0**-10))
        expected = np.full(x.shape, math.inf) if self.kind == "overflow" else x
        result = exactly(expected, fmt.name)
        # What may be made zero may be off by its size.
        tiny = fmt.flushes_subnormals & (np.abs(expected) < fmt.smallest_normal)
        return Enclosure(expected, np.where(tiny, np.abs(expected), result.bound))
