"""Layers of Keras: numbers worked out by hand, and properties that need no oracle."""

from __future__ import annotations

import functools
import math
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cnnprec.numerics.bounds import arithmetic_for
from cnnprec.numerics.layers import Weighted
from cnnprec.numerics.probes import DTYPES
from cnnprec.numerics.run_probes import default_device
from cnnprec.precision.formats import FORMATS, round_to

SEED = 0
ON_CPU = default_device() == "CPU"


# --- numbers worked out by hand, so that the oracle is checked too ------------------------


def test_relu_passes_nan_and_has_no_slope_at_zero():
    x = tf.constant([math.nan, 0.0, -1.0, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = keras.layers.Activation("relu")(x)
    assert math.isnan(y.numpy()[0])
    assert tape.gradient(y, x).numpy()[1:].tolist() == [0.0, 0.0, 1.0]


@pytest.mark.skipif(not ON_CPU, reason="a convention of CPUs")
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tie_in_max_pooling_sends_the_whole_gradient_to_the_first(dtype):
    x = tf.ones((1, 2, 2, 1), dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = keras.layers.MaxPooling2D(2, dtype=dtype)(x)
    assert np.ravel(tape.gradient(y, x)).astype(float).tolist() == [1.0, 0.0, 0.0, 0.0]


@pytest.mark.skipif(not ON_CPU, reason="a convention of CPUs")
@pytest.mark.parametrize("dtype", DTYPES)
def test_max_pooling_drops_a_nan(dtype):
    window = tf.constant([[[[1.0], [math.nan]], [[2.0], [3.0]]]], dtype)
    assert np.ravel(keras.layers.MaxPooling2D(2, dtype=dtype)(window)).astype(float) == [3.0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_max_pooling_conserves_the_sum_of_the_gradient(dtype):
    x = tf.constant(np.random.default_rng(SEED).integers(0, 2, (2, 6, 6, 3)), dtype)
    # Integers sum exactly in float64, however the ties fall.
    upstream = np.random.default_rng(SEED).integers(-8, 8, (2, 3, 3, 3))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = keras.layers.MaxPooling2D(2, dtype=dtype)(x)
    gradient = tape.gradient(y, x, output_gradients=tf.constant(upstream, dtype))
    assert gradient.numpy().astype(np.float64).sum() == upstream.sum()


# --- properties that need no oracle -----------------------------------------------------


_CONV = Weighted((6, 9, 7, 5), 7, (2, 3))


@functools.cache
def _built_conv_layer(dtype: str) -> keras.layers.Layer:
    layer = keras.layers.Conv2D(7, (2, 3), dtype=dtype)
    layer.build((None, 9, 7, 5))
    return layer


def _conv_layer(inputs: dict[str, np.ndarray], dtype: str) -> keras.layers.Layer:
    layer = _built_conv_layer(dtype)
    layer.kernel.assign(inputs["kernel"])
    layer.bias.assign(inputs["bias"])
    return layer


def _conv_kernel_gradient(inputs: dict[str, np.ndarray], dtype: str, rows: Any) -> np.ndarray:
    layer = _conv_layer(inputs, dtype)
    with tf.GradientTape() as tape:
        y = layer(tf.constant(inputs["x"][rows], dtype))
    upstream = tf.constant(inputs["upstream"][rows], dtype)
    gradient = tape.gradient(y, layer.kernel.value, output_gradients=upstream)
    return gradient.numpy().astype(np.float64)


def _kernel_gradient_bound(inputs: dict[str, np.ndarray], dtype: str, rows: Any) -> np.ndarray:
    part = {**inputs, "x": inputs["x"][rows], "upstream": inputs["upstream"][rows]}
    operation = Weighted(part["x"].shape, 7, (2, 3), "kernel_gradient")
    return operation.enclose(part, arithmetic_for(dtype)).bound


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), split=st.integers(1, 5))
def test_gradients_of_two_parts_of_a_batch_add_up_to_that_of_the_whole(seed, split):
    for dtype in ("float32", "float64"):
        inputs = dict(_CONV.draw(np.random.default_rng(seed), dtype))
        parts = (slice(None), slice(None, split), slice(split, None))
        whole, first, second = (_conv_kernel_gradient(inputs, dtype, rows) for rows in parts)
        # Each of the three is within its own bound of the exact gradient, and the exact
        # ones add up. Adding the two in float64 errs by one more rounding.
        allowed = sum(_kernel_gradient_bound(inputs, dtype, rows) for rows in parts)
        allowed = allowed + 2.0**-53 * np.abs(first + second)
        assert np.all(np.abs(whole - (first + second)) <= allowed)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_permuted_batch_gives_permuted_results_and_the_same_gradient(seed):
    rng = np.random.default_rng(seed)
    order = rng.permutation(6)
    for dtype in ("float32", "float64"):
        inputs = dict(_CONV.draw(rng, dtype))
        layer = _conv_layer(inputs, dtype)
        bound = _CONV.enclose(inputs, arithmetic_for(dtype)).bound
        y = layer(tf.constant(inputs["x"], dtype)).numpy()
        permuted = layer(tf.constant(inputs["x"][order], dtype)).numpy()
        # Both are within the bound of the same exact values.
        assert np.all(np.abs(permuted - y[order]) <= 2 * bound[order])
        gradients = [_conv_kernel_gradient(inputs, dtype, rows) for rows in (slice(None), order)]
        allowed = 2 * _kernel_gradient_bound(inputs, dtype, slice(None))
        assert np.all(np.abs(gradients[0] - gradients[1]) <= allowed)


def test_a_gradient_that_loses_one_image_does_not_add_up():
    inputs = dict(_CONV.draw(np.random.default_rng(SEED), "float32"))
    parts = (slice(None), slice(None, 3), slice(4, None))
    whole, first, second = (_conv_kernel_gradient(inputs, "float32", rows) for rows in parts)
    allowed = sum(_kernel_gradient_bound(inputs, "float32", rows) for rows in parts)
    assert np.any(np.abs(whole - (first + second)) > allowed)


@functools.cache
def _built_dense_layer(inputs: int, units: int, dtype: str) -> keras.layers.Layer:
    layer = keras.layers.Dense(units, use_bias=False, dtype=dtype)
    layer.build((None, inputs))
    return layer


def _dense_gradients(x: np.ndarray, kernel: np.ndarray, upstream: np.ndarray, dtype: str) -> Any:
    layer = _built_dense_layer(*kernel.shape, dtype)
    layer.kernel.assign(kernel)
    source = tf.constant(x, dtype)
    with tf.GradientTape() as tape:
        tape.watch(source)
        y = layer(source)
    sources = [source, layer.kernel.value]
    gradients = tape.gradient(y, sources, output_gradients=tf.constant(upstream, dtype))
    return np.concatenate([np.ravel(g.numpy()).astype(np.float64) for g in gradients])


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from(["float16", "bfloat16", "float32"]),
    exponent=st.integers(-20, 0),
    scale=st.integers(0, 12),
)
# One gradient lies between the last subnormal number and the first normal one, and is rounded up.
@example(seed=124568548, dtype="float16", exponent=-15, scale=1)
def test_loss_scaling_is_exact_and_never_adds_underflow(seed, dtype, exponent, scale):
    rng, fmt = np.random.default_rng(seed), FORMATS[dtype]
    shapes = ((8, 6), (6, 4), (8, 4))
    x, kernel, upstream = (round_to(rng.uniform(-4, 4, shape), dtype) for shape in shapes)
    upstream = round_to(np.ldexp(upstream, exponent), dtype)
    # At most 8 products of 4 * 4 * 2**(exponent + k) are summed, 2**(7 + exponent + k) in
    # all, so nothing overflows float16 while exponent + k <= 8.
    scale = min(scale, 8 - exponent)
    plain = _dense_gradients(x, kernel, upstream, dtype)
    scaled = _dense_gradients(x, kernel, np.ldexp(upstream, scale), dtype)
    assert np.all(np.isfinite(scaled))
    lost = [np.mean(np.abs(g) < fmt.smallest_normal) for g in (plain, scaled)]
    assert lost[1] <= lost[0]
    # The smallest normal number itself may be a subnormal one that was rounded up to it.
    normal = np.abs(plain) > fmt.smallest_normal
    np.testing.assert_array_equal(np.ldexp(scaled[normal], -scale), plain[normal])


def test_a_loss_scale_that_is_no_power_of_two_is_not_exact():
    rng = np.random.default_rng(SEED)
    shapes = ((8, 6), (6, 4), (8, 4))
    x, kernel, upstream = (round_to(rng.standard_normal(s), "float16") for s in shapes)
    plain = _dense_gradients(x, kernel, upstream, "float16")
    scaled = _dense_gradients(x, kernel, round_to(3 * upstream, "float16"), "float16")
    assert np.any(scaled / 3 != plain)


def test_loss_scaling_saves_gradients_that_underflow():
    rng = np.random.default_rng(SEED)
    x, kernel = (round_to(rng.standard_normal(s), "float16") for s in ((8, 6), (6, 4)))
    upstream = round_to(np.ldexp(rng.standard_normal((8, 4)), -18), "float16")
    plain = _dense_gradients(x, kernel, upstream, "float16")
    scaled = _dense_gradients(x, kernel, np.ldexp(upstream, 12), "float16")
    tiny = FORMATS["float16"].smallest_normal
    assert np.mean(np.abs(plain) < tiny) > 0.5
    assert np.mean(np.abs(scaled) < tiny) < 0.1
