"""Binary floating-point formats: their limits, the spacing of their numbers, rounding to them."""

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Real = NDArray[Any]  # an array of float64 or longdouble values


@dataclasses.dataclass(frozen=True)
class FloatFormat:
    """A binary floating-point format."""

    name: str
    significand_bits: int  # the hidden one included
    min_exponent: int  # of the smallest normal number
    max_exponent: int  # of the largest number

    @property
    def unit_roundoff(self) -> float:
        """Largest relative error of rounding to nearest: half the gap above 1."""
        return 2.0**-self.significand_bits

    @property
    def smallest_normal(self) -> float:
        """The smallest positive number that has all significand bits."""
        return 2.0**self.min_exponent

    @property
    def smallest_subnormal(self) -> float:
        """The smallest positive number."""
        return math.ldexp(1.0, self.min_exponent - self.significand_bits + 1)

    @property
    def max_finite(self) -> float:
        """The largest finite number."""
        return math.ldexp(2.0 - 2.0 * self.unit_roundoff, self.max_exponent)

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The NumPy type; bfloat16 is ml_dtypes' extension type."""
        return np.dtype(ml_dtypes.bfloat16 if self.name == "bfloat16" else self.name)

    @property
    def flushes_subnormals(self) -> bool:
        """Whether TensorFlow on CPUs may make results below the smallest normal number zero."""
        # It does so for float32 and float64, and computes bfloat16 in float32.
        return self.name != "float16"

    @property
    def underflow(self) -> float:
        """Largest absolute error of one operation of TensorFlow whose result underflows."""
        return self.smallest_normal if self.flushes_subnormals else self.smallest_subnormal / 2

    def cast(self, value: float) -> float:
        """What Keras makes of a Python number: the 16-bit types get it by way of float32."""
        wide = np.asarray(value)
        wide = wide if self.name == "float64" else round_to(wide, "float32")
        return float(round_to(wide, self.name))


_ROWS = (
    FloatFormat("float16", 11, -14, 15),
    FloatFormat("bfloat16", 8, -126, 127),
    FloatFormat("float32", 24, -126, 127),
    FloatFormat("float64", 53, -1022, 1023),
)
FORMATS: Mapping[str, FloatFormat] = MappingProxyType({row.name: row for row in _ROWS})
"""Every format by dtype name."""


def get_format(dtype: str) -> FloatFormat:
    """Returns the format of a dtype name; a ValueError lists those of `FORMATS`."""
    if dtype not in FORMATS:
        raise ValueError(
            f"no floating-point format {dtype!r}; known formats: {', '.join(FORMATS)}."
        )
    return FORMATS[dtype]


def spacing(values: Real, dtype: str) -> NDArray[np.float64]:
    """Gap from each finite number to its neighbour of larger magnitude in the format."""
    fmt = get_format(dtype)
    _, exponent = np.frexp(np.asarray(values, np.float64))
    # frexp's fraction lies in [1/2, 1), so the binary exponent is one less.
    exponent = np.maximum(exponent - 1, fmt.min_exponent)
    exponent = np.where(np.asarray(values) == 0, fmt.min_exponent, exponent)
    gap: NDArray[np.float64] = np.ldexp(1.0, exponent - fmt.significand_bits + 1)
    return gap


def round_to(values: Real, dtype: str) -> NDArray[np.float64]:
    """Rounds to the nearest number of a format, ties to even, in one step.

    ml_dtypes and TensorFlow round float64 to float32 first, and so round twice. Subnormals are
    kept, what rounds above the largest finite number becomes infinite, NaN and infinities pass.
    """
    fmt = get_format(dtype)
    exact: NDArray[np.float64] = np.array(values, np.float64)
    if dtype == "float64":
        return exact
    finite = np.isfinite(exact)
    gap = spacing(np.where(finite, exact, 0.0), dtype)
    # Division and multiplication by a power of two are exact here, and rint ties to even.
    rounded = np.rint(np.where(finite, exact, 0.0) / gap) * gap
    overflowed = np.abs(rounded) > fmt.max_finite
    rounded = np.where(overflowed, np.copysign(np.inf, rounded), rounded)
    result: NDArray[np.float64] = np.where(finite, rounded, exact)
    return result
