"""Casts and subnormals, in numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import tensorflow as tf

from cnnprec.numerics.run_probes import default_device
from cnnprec.precision.formats import FORMATS

ON_CPU = default_device() == "CPU"


def test_float16_overflows_at_65520_and_not_just_below():
    x = tf.constant([65519.99, 65520.0, -65520.0], tf.float32)
    assert tf.cast(x, tf.float16).numpy().tolist() == [65504.0, math.inf, -math.inf]


def test_casts_tie_to_even():
    x = tf.constant([1 + 2.0**-11, 1 + 3 * 2.0**-11, 2.0**-25, 3 * 2.0**-25], tf.float32)
    wanted = [1.0, 1 + 2 * 2.0**-10, 0.0, 2 * 2.0**-24]
    assert tf.cast(x, tf.float16).numpy().tolist() == wanted


def test_float16_keeps_ten_fraction_bits_and_bfloat16_does_not():
    x = tf.constant([1 + 2.0**-10], tf.float32)
    assert float(tf.cast(x, tf.float16)[0]) == 1 + 2.0**-10
    assert float(tf.cast(x, tf.bfloat16)[0]) == 1.0


@pytest.mark.skipif(not ON_CPU, reason="a convention of CPUs")
def test_cpus_flush_float32_subnormals_and_keep_those_of_float16():
    for dtype, kept in (("float16", True), ("float32", False), ("float64", False)):
        tiny = tf.constant([FORMATS[dtype].smallest_subnormal], dtype)
        assert bool((tiny * 1 != 0).numpy()[0]) is kept
