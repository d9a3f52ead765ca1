"""How far a floating-point result may lie from the exact one.

docs/bounds.md derives every bound from the number of terms and the unit roundoff; the error of the
reference itself is part of it. Nothing here is measured or tuned.
"""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from cnnprec.numerics.arithmetic import SAFETY, Arithmetic, gamma
from cnnprec.precision.formats import FORMATS, Real, spacing


@dataclasses.dataclass(frozen=True)
class Enclosure:
    """The exact result, NaN and infinities included, and the largest absolute error allowed."""

    exact: Real
    bound: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.exact.shape != self.bound.shape:
            shapes = f"shape {self.exact.shape} but bound has {self.bound.shape}"
            raise ValueError(f"exact has {shapes}.")

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
    lost = arithmetic.underflow
    if arithmetic.format.name in ("bfloat16", "float32"):
        lost += terms * FORMATS["float32"].smallest_normal
    bound = u * np.abs(exact).astype(np.float64) + (1 + u) * relative * magnitude + lost
    reference_error = gamma(terms + 1, arithmetic.reference_unit_roundoff) * magnitude
    if bias is not None:
        exact = exact + bias.astype(reference)
        size = np.abs(exact).astype(np.float64)
        bound = bound + u * (size + bound) + arithmetic.underflow
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
    bound = u * np.abs(exact).astype(np.float64) + arithmetic.underflow
    bound = bound + (1 + u) * gamma(count, arithmetic.accumulator) * magnitude
    bound = bound + gamma(terms + 1, arithmetic.reference_unit_roundoff) * magnitude
    return Enclosure(np.asarray(exact), np.asarray(SAFETY * bound))
