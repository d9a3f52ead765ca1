"""Faults drawn at random: operation x precision x mode x size x rarity.

`drawn` makes fault number n of a row that never changes. Its size is in multiples of the error that
an operation may make: the unit roundoff of what is returned, and for sums and products that of
the accumulator times their terms, on the sizes of the terms (docs/bounds.md). What a mode would
change by less than `LEAST` of these stays as it is.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any

import keras
import pytest
import tensorflow as tf

from tests.faults.rows import INTEGERS, Fault, Patch, replaced

LEAST, MOST = 10, 10_000
PRECISIONS = (
    *("single", "double", "mixed_half", "mixed_bfloat16", "half_stable", "bfloat16_stable"),
)
ROUNDOFF = {tf.float64: 2.0**-53, tf.float32: 2.0**-24, tf.float16: 2.0**-11, tf.bfloat16: 2.0**-8}
SAFETY = 1.01  # a little more than the probes' own
CLASSES = 100  # the most that a softmax of the probes has
ADAM = 8  # roundings of a step

Change = Callable[[Any, Any, Any], Any]
"""What is made of a result, the sum of the sizes of its terms and their number."""


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A fault of a family, in one precision."""

    fault: Fault
    precision: str
    family: tuple[str, str, str]
    """Operation, mode and rarity."""
    size: float
    """Of the modes that have one: how many times the error that is allowed."""


def drawn(number: int) -> Drawn:
    """Fault number `number`."""
    dice = random.Random(f"fault {number}")  # noqa: S311
    operation, precision = dice.choice(list(OPERATIONS)), dice.choice(PRECISIONS)
    mode, rarity = dice.choice(list(MODES)), dice.choice(list(RARITIES))
    size = LEAST * (MOST / LEAST) ** dice.random()
    change = changing(mode, rarity, size, dice.randrange(1 << 30))
    name = f"{number}: {operation}, {mode} {size:.0f}, {rarity}"
    return Drawn(
        Fault(name, OPERATIONS[operation](change)), precision, (operation, mode, rarity), size
    )


def changing(mode: str, rarity: str, size: float, luck: int) -> Change:
    """The change of a mode and size, where the rarity lets it be."""

    def change(y: Any, magnitude: Any, terms: Any) -> Any:
        kind = wide(y.dtype)
        flat, sizes = (tf.cast(tf.reshape(v, [-1]), kind) for v in (y, tf.abs(magnitude)))
        bound = ROUNDOFF[y.dtype] * tf.abs(flat)
        bound = SAFETY * (bound + tf.cast(terms, kind) * ROUNDOFF[kind] * sizes)
        index = tf.range(tf.size(flat, tf.int64), dtype=tf.int64)
        new = MODES[mode](flat, size * bound, index, luck, y.dtype)
        new = tf.cast(tf.cast(new, y.dtype), kind)
        there = RARITIES[rarity](flat, index, luck, tf.shape(y))
        there &= tf.abs(new - flat) >= LEAST * bound
        there &= tf.math.is_finite(flat) & (bound > 0)
        return tf.reshape(tf.cast(tf.where(there, new, flat), y.dtype), tf.shape(y))

    return change


def _signs(index: Any, luck: int, dtype: Any) -> Any:
    """Plus or minus one, as by chance."""
    mixed = (index * 40_503 + luck) % 65_537 * 30_011 % 65_521
    return tf.cast(2 * (mixed % 2) - 1, dtype)


def _flipped(y: Any, luck: int, dtype: Any) -> Any:
    """One of the higher bits of the stored number flipped, of the significand or the exponent."""
    stored = tf.cast(y, dtype)
    kind = INTEGERS[dtype.size]
    mask = tf.bitcast(tf.constant(1 << (8 * dtype.size - 2 - luck % (4 * dtype.size)), kind), kind)
    return tf.cast(
        tf.bitcast(tf.bitwise.bitwise_xor(tf.bitcast(stored, kind), mask), dtype), y.dtype
    )


MODES: dict[str, Callable[..., Any]] = {
    "up": lambda y, e, *_: y + e,
    "down": lambda y, e, *_: y - e,
    "outward": lambda y, e, *_: y + tf.sign(y) * e,
    "towards zero": lambda y, e, *_: y - tf.sign(y) * tf.minimum(e, tf.abs(y)),
    "either way": lambda y, e, index, luck, _: y + _signs(index, luck, y.dtype) * e,
    "zero": lambda y, *_: tf.zeros_like(y),
    "other sign": lambda y, *_: -y,
    "neighbour": lambda y, *_: tf.roll(y, 1, 0),
    "bit flipped": lambda y, e, index, luck, dtype: _flipped(y, luck, dtype),
}

RARITIES: dict[str, Callable[..., Any]] = {
    "everywhere": lambda y, index, *_: index >= 0,
    "1 in 11": lambda y, index, luck, _: (index + luck) % 11 == 0,
    "1 in 101": lambda y, index, luck, _: (index + luck) % 101 == 0,
    "1 in 1009": lambda y, index, luck, _: (index + luck) % 1009 == 0,
    "one element": lambda y, index, luck, _: index == luck % tf.size(index, tf.int64),
    "negative": lambda y, *_: y < 0,
    "large": lambda y, *_: tf.abs(y) > 2 * tf.reduce_mean(tf.abs(y)),
    "small": lambda y, *_: tf.abs(y) < tf.reduce_mean(tf.abs(y)) / 4,
    "last column": lambda y, index, luck, shape: (index + 1) % last(shape) == 0,
    "batch of 32": lambda y, index, luck, shape: (index >= 0) & (first(shape) == 32),
    "beyond 4096": lambda y, index, *_: index >= 4096,
}


def first(shape: Any) -> Any:
    return tf.concat([tf.cast(shape, tf.int64), [1]], 0)[0]


def last(shape: Any) -> Any:
    return tf.concat([[1], tf.cast(shape, tf.int64)], 0)[-1]


def product(name: str, side: int) -> Callable[[Change], Patch]:
    """A product of two operands: the result, or the gradient of one of them."""

    def terms(a: Any, b: Any, y: Any) -> Any:
        """How many products are added up for a result, or for a gradient."""
        size = (tf.size(b) // b.shape[-1], tf.size(b) // b.shape[-2], tf.size(y) // b.shape[-1])
        return size[side]

    def make(change: Change) -> Patch:
        def changed(original: Any) -> Any:
            def faulty(a: Any, b: Any, *rest: Any, **options: Any) -> Any:
                @tf.custom_gradient
                def run(a: Any, b: Any) -> Any:
                    y = original(a, b, *rest, **options)

                    def backward(upstream: Any) -> Any:
                        found = slopes(a, b, upstream)
                        if side:
                            sizes = slopes(tf.abs(a), tf.abs(b), tf.abs(upstream))
                            place = side - 1
                            found[place] = change(found[place], sizes[place], terms(a, b, y))
                        return found

                    if side:
                        return y, backward
                    sizes = original(tf.abs(a), tf.abs(b), *rest, **options)
                    return change(y, sizes, terms(a, b, y)), backward

                def slopes(a: Any, b: Any, upstream: Any) -> list[Any]:
                    with tf.GradientTape() as tape:
                        tape.watch([a, b])
                        y = original(a, b, *rest, **options)
                    return list(tape.gradient(y, [a, b], upstream))

                return run(tf.convert_to_tensor(a), tf.convert_to_tensor(b))

            return faulty

        return replaced([name], changed)

    return make


def single(name: str, terms: int, *, backward: bool = False) -> Callable[[Change], Patch]:
    """An operation of one operand, or its gradient; so many roundings on the way."""

    def make(change: Change) -> Patch:
        def changed(original: Any) -> Any:
            def faulty(*inputs: Any, **options: Any) -> Any:
                key = "logits" if "logits" in options else None
                x = tf.convert_to_tensor(options[key] if key else inputs[0])
                if not x.dtype.is_floating:
                    return original(*inputs, **options)

                def again(x: Any) -> Any:
                    if key:
                        return original(*inputs, **{**options, key: x})
                    return original(x, *inputs[1:], **options)

                def sized(y: Any) -> Any:
                    # Sums of parts of one, or of logits: as large as the largest result.
                    size = tf.ones_like(y) * tf.reduce_max(tf.abs(y)) if terms else y
                    return change(y, size, in_accumulator(terms, y.dtype))

                @tf.custom_gradient
                def run(x: Any) -> Any:
                    y = again(x)

                    def slope(upstream: Any) -> Any:
                        with tf.GradientTape() as tape:
                            tape.watch(x)
                            z = again(x)
                        found = tape.gradient(z, x, upstream)
                        return sized(found) if backward else found

                    return (y if backward else sized(y)), slope

                return run(x)

            return faulty

        return replaced([name], changed)

    return make


def in_accumulator(roundings: int, dtype: Any) -> float:
    """So many roundings of a dtype, in those of the accumulator."""
    return roundings * ROUNDOFF[dtype] / ROUNDOFF[wide(dtype)]


def wide(dtype: Any) -> Any:
    """Where sums of a dtype are accumulated."""
    return tf.float64 if dtype == tf.float64 else tf.float32


def optimizer(method: str) -> Callable[[Change], Patch]:
    """What Adam adds to a moment or takes off a weight."""

    def make(change: Change) -> Patch:
        def patch(monkeypatch: pytest.MonkeyPatch) -> None:
            original = getattr(keras.optimizers.Adam, method)

            def assign(self: Any, variable: Any, value: Any) -> Any:
                value = tf.convert_to_tensor(value)
                if value.dtype.is_floating:
                    # What counts is the sum: a change below its rounding is none.
                    sizes = tf.abs(value) + tf.abs(tf.convert_to_tensor(variable))
                    value = change(value, sizes, in_accumulator(ADAM, value.dtype))
                return original(self, variable, value)

            monkeypatch.setattr(keras.optimizers.Adam, method, assign)

        return patch

    return make


OPERATIONS: dict[str, Callable[[Change], Patch]] = {
    "convolution": product("convolution", 0),
    "convolution, input gradient": product("convolution", 1),
    "convolution, kernel gradient": product("convolution", 2),
    "matmul": product("matmul", 0),
    "matmul, input gradient": product("matmul", 1),
    "matmul, kernel gradient": product("matmul", 2),
    "relu": single("relu", 0),
    "relu, gradient": single("relu", 0, backward=True),
    "max_pool": single("max_pool", 0),
    "max_pool, gradient": single("max_pool", 0, backward=True),
    "softmax": single("softmax", CLASSES),
    "softmax, gradient": single("softmax", CLASSES, backward=True),
    "cross entropy": single("sparse_softmax_cross_entropy_with_logits", CLASSES),
    "cross entropy, gradient": single(
        "sparse_softmax_cross_entropy_with_logits", CLASSES, backward=True
    ),
    "Adam's moments": optimizer("assign_add"),
    "Adam's update": optimizer("assign_sub"),
}
