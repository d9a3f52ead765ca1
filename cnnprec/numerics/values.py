"""Special values (NaN, infinities, signed zeros, subnormals) sent through operations."""

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
from cnnprec.numerics.bounds import Enclosure, exactly
from cnnprec.numerics.operation import Inputs, Tensors, layer_gradient, ones_of
from cnnprec.precision.formats import FORMATS, FloatFormat, get_format, round_to


def _through_dense(x: Any, other: Any, dtype: str) -> Any:
    layer = keras.layers.Dense(1, use_bias=False, dtype=dtype)
    layer.build((None, 1))
    layer.kernel.assign(other[:1, None])
    return layer(x[:, None])[:, 0]


def _through_dense_gradient(x: Any, other: Any, dtype: str) -> Any:
    layer = keras.layers.Dense(1, use_bias=False, dtype=dtype)
    layer.build((None, 1))
    layer.kernel.assign(other[:1, None])
    ones = ones_of((int(x.shape[0]), 1), dtype)
    return layer_gradient(layer, ones, x[:, None], "input_gradient")[:, 0]


def _through_conv(x: Any, other: Any, dtype: str) -> Any:
    layer = keras.layers.Conv2D(1, 1, use_bias=False, dtype=dtype)
    layer.build((None, 1, 1, 1))
    layer.kernel.assign(other[:1, None, None, None])
    return layer(x[:, None, None, None])[:, 0, 0, 0]


def _through_conv_gradient(x: Any, other: Any, dtype: str) -> Any:
    layer = keras.layers.Conv2D(1, 1, use_bias=False, dtype=dtype)
    layer.build((None, 1, 1, 1))
    layer.kernel.assign(other[:1, None, None, None])
    ones = ones_of((int(x.shape[0]), 1, 1, 1), dtype)
    upstream = x[:, None, None, None]
    return layer_gradient(layer, ones, upstream, "input_gradient")[:, 0, 0, 0]


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
