"""The faults: what is patched, and in which precisions it bites.

A function that TensorFlow has traced keeps what it was traced with, so a model has to be built
inside the fault.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import pytest
import tensorflow as tf

Patch = Callable[[pytest.MonkeyPatch], None]
ALL = ("single", "mixed_half")
INTEGERS = {2: tf.int16, 4: tf.int32, 8: tf.int64}


@dataclasses.dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: Its number in the list and what is wrong.
        patch: Puts it in place.
        precisions: Where it bites.
        place: A part of the sentence of the check that has found the right place.
    """

    name: str
    patch: Patch
    precisions: tuple[str, ...] = ALL
    place: str = ""

    @contextmanager
    def injected(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            self.patch(patch)
            yield


def replaced(names: Sequence[str], changed: Callable[[Any], Any]) -> Patch:
    """Operations are replaced by what `changed` makes of them."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        for name in names:
            module, original = owner(name)
            monkeypatch.setattr(module, name, changed(original))

    return patch


def outputs(*names: str, change: Callable[[Any], Any]) -> Patch:
    """The outputs of operations are changed; gradients pass as if they were not."""

    def changed(original):
        def faulty(*inputs, **options):
            y = original(*inputs, **options)

            @tf.custom_gradient
            def through(value):
                return change(value), lambda upstream: upstream

            return through(y)

        return faulty

    return replaced(names, changed)


def operands(*names: str, change: Callable[[Any], Any]) -> Patch:
    """The two operands of products are changed."""

    def changed(original):
        def faulty(a, b, *rest, **options):
            return original(change(a), change(b), *rest, **options)

        return faulty

    return replaced(names, changed)


def owner(name: str) -> tuple[Any, Any]:
    module = tf if hasattr(tf, name) and not hasattr(tf.nn, name) else tf.nn
    return module, getattr(module, name)


def gradients(change: Callable[[Any, Any], Any]) -> Patch:
    """What Adam is given: ``change(gradient, variable)``."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        original = keras.optimizers.Adam.update_step

        def step(self, gradient, variable, rate):
            return original(self, change(gradient, variable), variable, rate)

        monkeypatch.setattr(keras.optimizers.Adam, "update_step", step)

    return patch


def bits(x: Any, edit: Callable[[Any], Any]) -> Any:
    kind = INTEGERS[x.dtype.size]

    @tf.custom_gradient
    def through(value):
        return tf.bitcast(edit(tf.bitcast(value, kind)), value.dtype), lambda upstream: upstream

    return through(tf.convert_to_tensor(x))


KERNELS = {"dense1": (576, 64), "dense2": (64, 10)}


def of(layer: str) -> Callable[[Any], bool]:
    """Whether a variable is the layer's kernel; TensorFlow's do not tell, but by their shape."""
    return lambda variable: tuple(variable.shape) == KERNELS[layer]


def only_first(x: Any, new: Any) -> Any:
    """The tensor with its first element taken from another."""
    flat, other = tf.reshape(x, [-1]), tf.reshape(new, [-1])
    return tf.reshape(tf.concat([other[:1], flat[1:]], 0), tf.shape(x))


def flipped_weight(bit: int, step: int = 5) -> Patch:
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        original = keras.optimizers.Adam.update_step

        def update(self, gradient, variable, rate):
            original(self, gradient, variable, rate)
            if of("dense1")(variable):
                value = tf.convert_to_tensor(variable)
                flip = bits(value, lambda i: tf.bitwise.bitwise_xor(i, 1 << bit))
                now = tf.cast(self.iterations, tf.int32) == step
                variable.assign(tf.where(now, only_first(value, flip), value))

        monkeypatch.setattr(keras.optimizers.Adam, "update_step", update)

    return patch


def method(owner: Any, name: str, new: Any) -> Patch:
    return lambda monkeypatch: monkeypatch.setattr(owner, name, new)


def bias_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf.nn, "bias_add", lambda x, bias, **_: x + 0 * bias)


def ties_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    original = tf.nn.max_pool

    @tf.custom_gradient
    def pool(x):
        y = original(x, 2, 2, "VALID")

        def gradient(up):
            size = [2 * (x.shape[1] // 2), 2 * (x.shape[2] // 2)]

            def spread(z):
                return tf.repeat(tf.repeat(z, 2, 1), 2, 2)

            cut = x[:, : size[0], : size[1]]
            back = tf.where(cut == spread(y), spread(up), tf.zeros_like(cut))
            edge = [[0, 0], [0, x.shape[1] - size[0]], [0, x.shape[2] - size[1]], [0, 0]]
            return tf.pad(back, edge)

        return y, gradient

    monkeypatch.setattr(tf.nn, "max_pool", lambda x, *_, **__: pool(x))


def by_taps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions add up their taps in the storage type."""
    original = tf.nn.convolution

    def convolution(x, kernel, *rest, **options):
        height, width = (x.shape[k + 1] - kernel.shape[k] + 1 for k in range(2))
        total = None
        for i in range(kernel.shape[0]):
            for j in range(kernel.shape[1]):
                part = original(x[:, i : i + height, j : j + width], kernel[i : i + 1, j : j + 1],
                                *rest, **options)  # fmt: skip
                total = part if total is None else total + part
        return total

    monkeypatch.setattr(tf.nn, "convolution", convolution)


def cast_around(kind: Any) -> Callable[[Any], Any]:
    return lambda x: tf.cast(tf.cast(x, kind), x.dtype)


def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    original = tf.nn.convolution

    def convolution(x, kernel, *rest, **options):
        y = original(tf.cast(x, tf.float32), tf.cast(kernel, tf.float32), *rest, **options)
        return tf.cast(y, x.dtype)

    monkeypatch.setattr(tf.nn, "convolution", convolution)


def scaled(by: float) -> Callable[[Any], Any]:
    """The result times a factor before it is rounded to its dtype.

    Of a 16-bit result what was rounded off is lost: each element gets a part of a unit in the last
    place instead, evenly spread, which alone changes next to no element.
    """

    def change(y):
        wide = tf.float64 if y.dtype == tf.float64 else tf.float32
        exact = tf.cast(y, wide)
        if y.dtype.size == 2:
            places = tf.cast(tf.reshape(tf.range(tf.size(y)), tf.shape(y)), wide)
            part = tf.math.floormod(places * 0.61803, 1.0) - 0.5
            exact += 0.999 * part * (tf.cast(up_an_ulp(y), wide) - exact)
        return tf.cast(exact * by, y.dtype)

    return change


def up_an_ulp(y: Any) -> Any:
    return bits(y, lambda i: i + 1)


def masked(x: Any) -> Any:
    x = tf.convert_to_tensor(x)
    return bits(x, lambda i: tf.bitwise.bitwise_and(i, -(1 << 13))) if x.dtype.size == 4 else x


def flushed(y: Any) -> Any:
    return tf.where(tf.abs(y) < 2.0**-14, tf.zeros_like(y), y)


def clamped(y: Any) -> Any:
    most = 65504.0 if y.dtype == tf.float16 else y.dtype.max
    return tf.clip_by_value(y, -most, most)


PRODUCTS = ("convolution", "matmul")
SCALER = keras.optimizers.LossScaleOptimizer
HALF = ("mixed_half", "half_stable")
FAULTS = (
    Fault("1 subnormals flushed", outputs(*PRODUCTS, change=flushed), HALF),
    Fault("2 infinity clamped", outputs(*PRODUCTS, change=clamped), ("mixed_half", "half")),
    Fault("3 taps added up in storage type", by_taps, ("mixed_half", "mixed_bfloat16"), "conv"),
    Fault("4 TF32 on", operands(*PRODUCTS, change=masked), ("single",), "conv"),
    Fault("5 bfloat16 for float16", outputs(*PRODUCTS, change=cast_around(tf.bfloat16)), HALF),
    Fault("6 layer computes in float32", in_float32, ("mixed_half", "mixed_bfloat16")),
    Fault("7a +1 ulp everywhere", outputs("convolution", change=up_an_ulp), ALL, "conv"),
    Fault(
        "7b +1 ulp in one element",
        outputs("convolution", change=lambda y: only_first(y, up_an_ulp(y))),
        place="conv",
    ),
    Fault("8 result times 1 + 1e-4", outputs("convolution", change=scaled(1.0001)), ALL, "conv"),
    Fault("9 bias skipped", bias_skipped, place="bias"),
    Fault("10 tie gradient to all", ties_to_all, place="pool"),
    Fault(
        "11 one weight's update lost",
        gradients(lambda g, v: only_first(g, tf.zeros_like(g)) if of("dense2")(v) else g),
        place="dense2 kernel",
    ),
    Fault(
        "12 layer frozen",
        gradients(lambda g, v: tf.zeros_like(g) if of("dense1")(v) else g),
        place="dense1 kernel",
    ),
    Fault("13 gradient halved", gradients(lambda g, v: g / 2), place="gradient"),
    Fault(
        "14 small gradients flushed",
        gradients(lambda g, v: tf.where(tf.abs(g) < 1e-4, tf.zeros_like(g), g)),
        place="gradient",
    ),
    Fault("15a not unscaled", gradients(lambda g, v: g * 2.0**15), ("mixed_half",), "gradient"),
    Fault("15b unscaled twice", gradients(lambda g, v: g / 2.0**15), ("mixed_half",), "gradient"),
    Fault(
        "16 scale never backs off",
        method(SCALER, "_stateful_handle_non_finite_grads", lambda self: None),
        ("mixed_half",),
    ),
    Fault(
        "17 infinite step applied",
        method(SCALER, "check_finite", lambda self, grads: tf.constant(True)),
        ("mixed_half",),
    ),
    *(
        Fault(f"18 bit {b} flipped, step 5", flipped_weight(b), ("single",))
        for b in (0, 13, 22, 28, 30)
    ),
    Fault("convolution gives zeros", outputs("convolution", change=tf.zeros_like), ALL, "conv"),
    Fault("product gives zeros", outputs("matmul", change=tf.zeros_like), ALL, "dense"),
    Fault("evaluation wrong", method(tf, "argmax", tf.argmin), ALL, "evaluation"),
)
