"""Rounding and spacing agree with NumPy, ml_dtypes and TensorFlow."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cnnprec.precision.formats import FORMATS, get_format, round_to, spacing

DTYPES = tuple(FORMATS)


@pytest.mark.parametrize("dtype", DTYPES)
def test_formats_agree_with_ml_dtypes(dtype):
    fmt, info = FORMATS[dtype], ml_dtypes.finfo(FORMATS[dtype].numpy_dtype)
    assert fmt.max_finite == float(info.max)
    assert fmt.smallest_normal == float(info.smallest_normal)
    assert fmt.smallest_subnormal == float(info.smallest_subnormal)
    assert 2 * fmt.unit_roundoff == float(info.eps)


def test_an_unknown_format_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'float8'.*float16, bfloat16, float32, float64"):
        get_format("float8")


# --- rounding ---------------------------------------------------------------------------


@settings(deadline=None)
@given(st.floats(width=32))
@example(65519.99609375)
@example(65520.0)
@example(math.nan)
@example(-0.0)
@example(2.0**-25)
@example(3 * 2.0**-25)
def test_rounding_float32_agrees_with_the_casts_of_numpy_and_ml_dtypes(value):
    # From float32 those casts round once, so they are an independent reference.
    for dtype in ("float16", "bfloat16"):
        with np.errstate(over="ignore"):
            cast = np.float32(value).astype(FORMATS[dtype].numpy_dtype).astype(np.float64)
        rounded = round_to(np.asarray(value), dtype)
        np.testing.assert_array_equal(rounded, cast)
        assert np.signbit(rounded) == np.signbit(cast) or math.isnan(value)


@settings(deadline=None)
@given(st.floats(allow_nan=False))
def test_rounding_float64_agrees_with_numpy(value):
    for dtype in ("float16", "float32", "float64"):
        with np.errstate(over="ignore"):
            assert round_to(np.asarray(value), dtype) == np.float64(value).astype(dtype)


def test_rounding_to_bfloat16_rounds_once_where_ml_dtypes_rounds_twice():
    # A hair above the tie between 1 and 1 + 2**-7; float32 would drop the hair.
    value = np.asarray(1 + 2.0**-8 + 2.0**-40)
    assert round_to(value, "bfloat16") == 1 + 2.0**-7
    assert float(value.astype(ml_dtypes.bfloat16)) == 1.0


@pytest.mark.parametrize("dtype", DTYPES)
def test_spacing_is_the_distance_to_the_next_number_outward(dtype):
    one = FORMATS[dtype].numpy_dtype.type(1)
    for value in (one, one * 3, -one, one * 0):
        if dtype == "bfloat16":
            following = ml_dtypes.bfloat16(value) + ml_dtypes.bfloat16(0)
            bits = np.asarray(following).view(np.uint16) + np.uint16(1)
            neighbour = float(bits.view(ml_dtypes.bfloat16))
        else:
            neighbour = float(np.nextafter(value, np.copysign(one * math.inf, value)))
        assert spacing(np.asarray(float(value)), dtype) == abs(neighbour - float(value))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [0.999, 1e-7, 1e-46, 1e5, 1 - 2.0**-9 - 2.0**-53])
def test_a_number_is_cast_as_tensorflow_casts_it(value: float, dtype: str) -> None:
    # A Python number becomes a float32 tensor, unless float64 is asked for.
    tensor = tf.constant(value, tf.float64 if dtype == "float64" else tf.float32)
    assert FORMATS[dtype].cast(value) == float(tf.cast(tf.cast(tensor, dtype), tf.float64))


def test_a_format_knows_what_it_loses_to_underflow():
    assert FORMATS["float16"].underflow == 2.0**-25  # keeps its subnormals
    assert FORMATS["float32"].underflow == 2.0**-126
