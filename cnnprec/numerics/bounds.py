"""How far a floating-point result may lie from the exact one, by the rules it is held to.

docs/bounds.md derives every bound from the number of terms and the unit roundoff; the error of the
reference itself is part of it. Nothing here is measured or tuned.
"""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from cnnprec.precision.formats import FORMATS, FloatFormat, Real, get_format, spacing

SAFETY = 1.0 + 2.0**-30  # covers the rounding of the bounds themselves (docs/bounds.md)

# Largest relative error of one addition, by where the partial sums of a dot product are kept.
# Tensor cores truncate the float32 sum instead of rounding it (docs/bounds.md).
ACCUMULATORS = {"float32": 2.0**-24, "tensor_core": 2.0**-23, "float64": 2.0**-53}


def gamma(terms: int, unit_roundoff: float) -> float:
    """Higham's gamma_n = n u / (1 - n u), the relative error of n roundings; ValueError at 1."""
    product = terms * unit_roundoff
    if terms < 0 or product >= 1:
        raise ValueError(
            f"gamma needs 0 <= n * u < 1, got n = {terms} and u = {unit_roundoff}; "
            "sum fewer terms or use a wider accumulator."
        )
    return product / (1.0 - product)


@dataclasses.dataclass(frozen=True)
class Arithmetic:
    """The rules that a computation is held to."""

    format: FloatFormat  # of operands and results
    accumulator: float  # unit roundoff of the partial sums of dot products and sums
    tensor_float_32: bool = False  # whether operands of float32 products may be rounded to TF32

    @property
    def reference_dtype(self) -> type[np.float64] | type[np.longdouble]:
        """NumPy type in which the reference of this format is computed."""
        return np.longdouble if self.format.name == "float64" else np.float64

    @property
    def reference_unit_roundoff(self) -> float:
        """Unit roundoff of `reference_dtype`."""
        return float(np.finfo(self.reference_dtype).eps) / 2


def arithmetic_for(
    dtype: str, *, tensor_cores: bool = False, tensor_float_32: bool = False
) -> Arithmetic:
    """The rules that TensorFlow's documentation lets one expect for a dtype."""
    tf32 = tensor_float_32 and dtype == "float32"
    accumulator = "float64" if dtype == "float64" else "float32"
    if tensor_cores and (dtype in ("float16", "bfloat16") or tf32):
        accumulator = "tensor_core"
    return Arithmetic(get_format(dtype), ACCUMULATORS[accumulator], tf32)


@dataclasses.dataclass(frozen=True)
class Enclosure:
    """The exact result, NaN and infinities included, and the largest absolute error allowed."""

    exact: Real
    bound: NDArray[np.float64]  # of the same shape

    def reshape(self, shape: tuple[int, ...]) -> "Enclosure":
        """The same numbers in another shape."""
        return Enclosure(self.exact.reshape(shape), self.bound.reshape(shape))


def exactly(values: Real, dtype: str) -> Enclosure:
    """An enclosure that only the given representable numbers satisfy."""
    exact = np.asarray(values, np.float64)
    finite = np.where(np.isfinite(exact), exact, 0.0)
    return Enclosure(exact, spacing(finite, dtype) / 4)  # any other is twice that away, or more


def contraction(
    left: Real, right: Real, arithmetic: Arithmetic, *, bias: Real | None = None
) -> Enclosure:
    """Encloses ``(m, k) @ (k, n) + (n,)``; docs/bounds.md, "Products of matrices", derives it."""
    terms = left.shape[1]
    reference = arithmetic.reference_dtype
    exact = left.astype(reference) @ right.astype(reference)
    magnitude = np.abs(left).astype(np.float64) @ np.abs(right).astype(np.float64)
    u = arithmetic.format.unit_roundoff
    relative = gamma(terms, arithmetic.accumulator)
    if arithmetic.tensor_float_32:
        relative += 2 * 2.0**-11 + 2.0**-22
    lost = arithmetic.format.underflow
    if arithmetic.format.name in ("bfloat16", "float32"):
        lost += terms * FORMATS["float32"].smallest_normal
    bound = u * np.abs(exact).astype(np.float64) + (1 + u) * relative * magnitude + lost
    reference_error = gamma(terms + 1, arithmetic.reference_unit_roundoff) * magnitude
    if bias is not None:
        exact = exact + bias.astype(reference)
        size = np.abs(exact).astype(np.float64)
        bound = bound + u * (size + bound) + arithmetic.format.underflow
        reference_error = reference_error + arithmetic.reference_unit_roundoff * size
    return Enclosure(exact, SAFETY * (bound + reference_error))


def summation(
    values: Real, axes: tuple[int, ...], arithmetic: Arithmetic, *, mean: bool = False
) -> Enclosure:
    """Encloses a sum or mean in any order of additions; docs/bounds.md, "Sums and means"."""
    terms = math.prod(values.shape[axis] for axis in axes)
    reference = arithmetic.reference_dtype
    divisor = terms if mean else 1
    exact = values.astype(reference).sum(axis=axes) / reference(divisor)
    magnitude = np.abs(values).astype(np.float64).sum(axis=axes) / divisor
    u = arithmetic.format.unit_roundoff
    count = terms if mean else terms - 1
    bound = u * np.abs(exact).astype(np.float64) + arithmetic.format.underflow
    bound = bound + (1 + u) * gamma(count, arithmetic.accumulator) * magnitude
    bound = bound + gamma(terms + 1, arithmetic.reference_unit_roundoff) * magnitude
    return Enclosure(np.asarray(exact), np.asarray(SAFETY * bound))
