"""How far a floating-point result may lie from the exact one.

Every bound follows from the number of terms K and the unit roundoff u (Higham,
"Accuracy and Stability of Numerical Algorithms", chapters 2 and 3). Nothing here is
measured or tuned. The exact value always belongs to the same representable inputs that
the tested operation got, so the rounding of the inputs is not part of any bound.

The reference itself is a computation. For float16, bfloat16 and float32 it runs in
float64; for float64 it runs in `numpy.longdouble`, which has 64 significand bits on x86.
Where longdouble is no wider than float64, as on some ARM systems, the reference has the
same error as the tested operation. Each bound contains the error of the reference, so it
stays valid there and becomes twice as wide.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Real = NDArray[Any]
"""An array of float64 or longdouble values."""

# Bounds are computed in float64 themselves. Their relative error is below K * 2**-52 for
# K terms; with K up to 2**20 this factor covers it.
_SAFETY = 1.0 + 2.0**-30

ELEMENTARY_FUNCTION_ULPS = 2
"""Largest error of exp, log and pow, in ulp.

The CUDA C++ Programming Guide states 2 ulp for expf and 1 ulp for logf; Eigen's
vectorised versions stay below 2 ulp. One ulp is at most two unit roundoffs.
"""


@dataclasses.dataclass(frozen=True)
class FloatFormat:
    """A binary floating-point format.

    Attributes:
        name: The dtype's name, such as ``"float16"``.
        significand_bits: Bits of the significand, the hidden one included.
        min_exponent: Exponent of the smallest normal number.
        max_exponent: Exponent of the largest finite number.
    """

    name: str
    significand_bits: int
    min_exponent: int
    max_exponent: int

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


FORMATS: Mapping[str, FloatFormat] = MappingProxyType(
    {
        row.name: row
        for row in (
            FloatFormat("float16", 11, -14, 15),
            FloatFormat("bfloat16", 8, -126, 127),
            FloatFormat("float32", 24, -126, 127),
            FloatFormat("float64", 53, -1022, 1023),
        )
    }
)
"""Every format by dtype name."""


def get_format(dtype: str) -> FloatFormat:
    """Returns the format of a dtype name.

    Raises:
        ValueError: The name is none of `FORMATS`.
    """
    try:
        return FORMATS[dtype]
    except KeyError:
        raise ValueError(
            f"no floating-point format {dtype!r}; known formats: {', '.join(FORMATS)}."
        ) from None


def spacing(values: Real, dtype: str) -> NDArray[np.float64]:
    """Gap from each number to its neighbour of larger magnitude in the format.

    Args:
        values: Finite numbers of any shape, read as float64.
        dtype: Name of the format.

    Returns:
        One ulp of each number as float64; the smallest subnormal for zero.
    """
    fmt = get_format(dtype)
    _, exponent = np.frexp(np.asarray(values, np.float64))
    # frexp's fraction lies in [1/2, 1), so the binary exponent is one less.
    exponent = np.maximum(exponent - 1, fmt.min_exponent)
    exponent = np.where(np.asarray(values) == 0, fmt.min_exponent, exponent)
    gap: NDArray[np.float64] = np.ldexp(1.0, exponent - fmt.significand_bits + 1)
    return gap


def round_to(values: Real, dtype: str) -> NDArray[np.float64]:
    """Rounds to the nearest number of a format, ties to even, in one step.

    This is the reference for casts. It does not use the casts of NumPy, ml_dtypes or
    TensorFlow: of these, ml_dtypes and TensorFlow round float64 to float32 first, and so
    round twice.

    Args:
        values: Numbers of any shape, exact in float64. NaN and infinities pass.
        dtype: Name of the format to round to.

    Returns:
        float64 array of numbers representable in the format: subnormals are kept, and
        magnitudes that round above the largest finite number become infinite.
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


def gamma(terms: int, unit_roundoff: float) -> float:
    """Higham's gamma_n = n u / (1 - n u): relative error of n roundings in a row.

    Raises:
        ValueError: ``terms`` is negative, or ``terms * unit_roundoff`` reaches 1, where
            the analysis says nothing.
    """
    product = terms * unit_roundoff
    if terms < 0 or product >= 1:
        raise ValueError(
            f"gamma needs 0 <= n * u < 1, got n = {terms} and u = {unit_roundoff}; "
            "sum fewer terms or use a wider accumulator."
        )
    return product / (1.0 - product)


def hoeffding_limit(count: int, probability: float = 1e-9) -> float:
    """Largest mean of independent, zero-mean errors in [-1, 1] that chance explains.

    Errors divided by their bound lie in [-1, 1], so by Hoeffding's inequality their mean
    exceeds ``sqrt(2 ln(2 / p) / n)`` with probability at most p.

    Args:
        count: Number n of errors; at least 1.
        probability: Probability p of a false alarm.

    Raises:
        ValueError: ``count`` is below 1, or ``probability`` is not inside (0, 1).
    """
    if count < 1 or not 0 < probability < 1:
        raise ValueError(f"need count >= 1 and 0 < probability < 1, got {count} and {probability}.")
    return math.sqrt(2.0 * math.log(2.0 / probability) / count)


@dataclasses.dataclass(frozen=True)
class Accumulator:
    """Where the partial sums of a dot product are kept.

    Attributes:
        name: The name in `ACCUMULATORS`.
        unit_roundoff: Largest relative error of one addition.
    """

    name: str
    unit_roundoff: float


ACCUMULATORS: Mapping[str, Accumulator] = MappingProxyType(
    {
        row.name: row
        for row in (
            Accumulator("float32", 2.0**-24),
            # Tensor cores truncate the float32 sum instead of rounding it (Fasi et al.,
            # PeerJ Computer Science 330, 2021), which doubles the error of an addition.
            Accumulator("tensor_core", 2.0**-23),
            Accumulator("float64", 2.0**-53),
        )
    }
)
"""Every accumulator by name."""


@dataclasses.dataclass(frozen=True)
class Arithmetic:
    """The rules that a computation is held to.

    Attributes:
        format: Format of operands and results.
        accumulator: Where dot products and sums keep their partial sums.
        tensor_float_32: Whether operands of float32 products may be rounded to TF32.
        flushes_subnormals: Whether results below the smallest normal number may become
            zero. TensorFlow sets this mode for float32 and float64 on CPUs; float16 keeps
            its subnormals.
    """

    format: FloatFormat
    accumulator: Accumulator
    tensor_float_32: bool = False
    flushes_subnormals: bool = False

    @property
    def unit_roundoff(self) -> float:
        """Unit roundoff u of the results."""
        return self.format.unit_roundoff

    @property
    def underflow(self) -> float:
        """Largest absolute error of one operation whose result underflows."""
        if self.flushes_subnormals:
            return self.format.smallest_normal
        return self.format.smallest_subnormal / 2

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
    """The rules that TensorFlow's documentation lets one expect for a dtype.

    Args:
        dtype: Name of the format.
        tensor_cores: Whether products of float16, bfloat16 and TF32 run on tensor cores.
        tensor_float_32: Whether TF32 is allowed; matters for float32 only.

    Raises:
        ValueError: The dtype is unknown.
    """
    fmt = get_format(dtype)
    tf32 = tensor_float_32 and dtype == "float32"
    if dtype == "float64":
        accumulator = ACCUMULATORS["float64"]
    elif tensor_cores and (dtype in ("float16", "bfloat16") or tf32):
        accumulator = ACCUMULATORS["tensor_core"]
    else:
        accumulator = ACCUMULATORS["float32"]
    return Arithmetic(fmt, accumulator, tf32, flushes_subnormals=dtype != "float16")


@dataclasses.dataclass(frozen=True)
class Enclosure:
    """The exact result and how far a correct implementation may be from it.

    Attributes:
        exact: float64 or longdouble array. NaN and infinities are expected literally.
        bound: float64 array of the same shape: largest absolute error allowed.
    """

    exact: Real
    bound: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.exact.shape != self.bound.shape:
            raise ValueError(
                f"exact has shape {self.exact.shape} but bound has {self.bound.shape}."
            )

    def reshape(self, shape: tuple[int, ...]) -> Enclosure:
        """The same numbers in another shape."""
        return Enclosure(self.exact.reshape(shape), self.bound.reshape(shape))


def exactly(values: Real, dtype: str) -> Enclosure:
    """An enclosure that only the given representable numbers satisfy.

    The bound is a quarter of the spacing. Any other number of the format is at least half
    a spacing away (half, when the number is a power of two and the other lies below), so
    its error is at least twice the bound.
    """
    exact = np.asarray(values, np.float64)
    finite = np.where(np.isfinite(exact), exact, 0.0)
    return Enclosure(exact, spacing(finite, dtype) / 4)


def contraction(
    left: Real,
    right: Real,
    arithmetic: Arithmetic,
    *,
    bias: Real | None = None,
) -> Enclosure:
    """Encloses a matrix product, the form of every dense and convolution result.

    With K terms, the computed result lies within::

        u |y| + (1 + u) gamma_K(u_acc) sum |a||b| + underflow

    of the exact y. TF32 adds ``(2 * 2**-11 + 2**-22) sum |a||b|``, the rounding of both
    operands to 11 significand bits. A bias is one more operation in the result's format,
    so it adds one more rounding; a kernel that fuses the bias rounds less and stays
    inside.

    Args:
        left: Array ``(m, k)``.
        right: Array ``(k, n)``.
        arithmetic: The rules to hold the result to.
        bias: Array ``(n,)``, or None.

    Returns:
        Enclosure of shape ``(m, n)``.
    """
    terms = left.shape[1]
    reference = arithmetic.reference_dtype
    exact = left.astype(reference) @ right.astype(reference)
    magnitude = np.abs(left).astype(np.float64) @ np.abs(right).astype(np.float64)
    u = arithmetic.unit_roundoff
    relative = gamma(terms, arithmetic.accumulator.unit_roundoff)
    if arithmetic.tensor_float_32:
        relative += 2 * 2.0**-11 + 2.0**-22
    # Each product may underflow once in the accumulator, the result once in its format.
    lost = arithmetic.underflow + terms * FORMATS["float32"].smallest_normal * (
        arithmetic.format.name in ("bfloat16", "float32")
    )
    bound = u * np.abs(exact).astype(np.float64) + (1 + u) * relative * magnitude + lost
    # The reference's own error (Higham, section 3.1).
    reference_error = gamma(terms + 1, arithmetic.reference_unit_roundoff) * magnitude
    if bias is not None:
        exact = exact + bias.astype(reference)
        size = np.abs(exact).astype(np.float64)
        bound = bound + u * (size + bound) + arithmetic.underflow
        reference_error = reference_error + arithmetic.reference_unit_roundoff * size
    return Enclosure(exact, _SAFETY * (bound + reference_error))


def summation(
    values: Real, axes: tuple[int, ...], arithmetic: Arithmetic, *, mean: bool = False
) -> Enclosure:
    """Encloses a sum or mean over some axes, whatever the order of the additions.

    A sum of n terms takes n - 1 additions in the accumulator and one rounding to the
    result; a mean takes one division more, in the accumulator.

    Args:
        values: Array of any shape.
        axes: Axes to reduce.
        arithmetic: The rules to hold the result to.
        mean: Whether to divide by the number of terms.

    Returns:
        Enclosure with the reduced axes removed.
    """
    kept = [axis for axis in range(values.ndim) if axis not in axes]
    terms = math.prod(values.shape[axis] for axis in axes)
    columns = values.transpose(*axes, *kept).reshape(terms, -1)
    shape = tuple(values.shape[axis] for axis in kept)
    reference = arithmetic.reference_dtype
    divisor = terms if mean else 1
    exact = columns.astype(reference).sum(axis=0) / reference(divisor)
    magnitude = np.abs(columns).astype(np.float64).sum(axis=0) / divisor
    u = arithmetic.unit_roundoff
    count = terms if mean else terms - 1
    bound = u * np.abs(exact).astype(np.float64) + arithmetic.underflow
    bound = bound + (1 + u) * gamma(count, arithmetic.accumulator.unit_roundoff) * magnitude
    bound = bound + gamma(terms + 1, arithmetic.reference_unit_roundoff) * magnitude
    return Enclosure(exact, _SAFETY * bound).reshape(shape)


@dataclasses.dataclass(frozen=True)
class Tracked:
    """A number with a bound on the error that its computed counterpart has so far.

    Running error analysis (Higham, section 3.3): each operation propagates the errors of
    its operands and adds one rounding of its own. It turns a formula such as Adam's
    update into an enclosure mechanically.

    Attributes:
        exact: float64 or longdouble array, computed in `Arithmetic.reference_dtype`.
        error: float64 array: largest distance of the computed number from ``exact``.
        arithmetic: The rules each operation follows. The unit roundoff of the reference
            is added to that of the format, so ``error`` covers both sides.
    """

    exact: Real
    error: NDArray[np.float64]
    arithmetic: Arithmetic

    @classmethod
    def of(cls, values: Real | float, arithmetic: Arithmetic) -> Tracked:
        """Wraps numbers that the format represents exactly."""
        exact = np.asarray(values).astype(arithmetic.reference_dtype)
        return cls(exact, np.zeros(exact.shape), arithmetic)

    @property
    def enclosure(self) -> Enclosure:
        """The value and its error bound."""
        return Enclosure(self.exact, _SAFETY * np.asarray(self.error, np.float64))

    def _result(self, exact: Real, error: Real, roundoffs: int = 1) -> Tracked:
        """Adds the rounding of one operation to the propagated error."""
        arithmetic = self.arithmetic
        u = arithmetic.unit_roundoff + arithmetic.reference_unit_roundoff
        propagated = np.asarray(error, np.float64)
        size = np.abs(exact).astype(np.float64) + propagated
        total = propagated + roundoffs * u * size + arithmetic.underflow
        return Tracked(exact, np.asarray(total), arithmetic)

    def _lift(self, other: Tracked | float) -> Tracked:
        return other if isinstance(other, Tracked) else Tracked.of(other, self.arithmetic)

    def __add__(self, other: Tracked | float) -> Tracked:
        right = self._lift(other)
        return self._result(self.exact + right.exact, self.error + right.error)

    def __sub__(self, other: Tracked | float) -> Tracked:
        right = self._lift(other)
        return self._result(self.exact - right.exact, self.error + right.error)

    def __rsub__(self, other: float) -> Tracked:
        return self._lift(other) - self

    def __mul__(self, other: Tracked | float) -> Tracked:
        right = self._lift(other)
        a, b = np.abs(self.exact), np.abs(right.exact)
        error = self.error * b + right.error * a + self.error * right.error
        return self._result(self.exact * right.exact, error)

    def __truediv__(self, other: Tracked | float) -> Tracked:
        """Divides.

        Raises:
            ValueError: The error of the divisor reaches its size, so zero is possible.
        """
        right = self._lift(other)
        size = np.abs(right.exact)
        if np.any(right.error >= size):
            raise ValueError("the divisor is not bounded away from zero.")
        quotient = self.exact / right.exact
        error = (self.error + np.abs(quotient) * right.error) / (size - right.error)
        return self._result(quotient, error)

    def sqrt(self) -> Tracked:
        """Square root, correctly rounded as IEEE 754 demands.

        Raises:
            ValueError: A negative argument is possible.
        """
        if np.any(self.error > self.exact):
            raise ValueError("the argument of sqrt may be negative.")
        root = np.sqrt(self.exact)
        low = np.sqrt(self.exact - self.error)
        # sqrt(x) - sqrt(x - e) is the larger one-sided change. It cancels, so it is
        # computed as e / (sqrt(x) + sqrt(x - e)); x = 0 has e = 0.
        total = root + low
        error = np.where(total > 0, self.error / np.where(total > 0, total, 1), 0)
        return self._result(root, error)

    def exp(self) -> Tracked:
        """Exponential, within `ELEMENTARY_FUNCTION_ULPS`."""
        value = np.exp(self.exact)
        return self._result(value, value * np.expm1(self.error), 2 * ELEMENTARY_FUNCTION_ULPS)

    def log(self) -> Tracked:
        """Natural logarithm, within `ELEMENTARY_FUNCTION_ULPS`.

        Raises:
            ValueError: A non-positive argument is possible.
        """
        if np.any(self.error >= self.exact):
            raise ValueError("the argument of log may be zero or negative.")
        error = -np.log1p(-self.error / self.exact)
        return self._result(np.log(self.exact), error, 2 * ELEMENTARY_FUNCTION_ULPS)

    def power(self, exponent: int) -> Tracked:
        """Power of an exact base, within `ELEMENTARY_FUNCTION_ULPS`.

        Raises:
            ValueError: The base carries an error already.
        """
        if np.any(self.error > 0):
            raise ValueError("power needs an exact base.")
        value = self.exact**exponent
        return self._result(value, np.zeros(value.shape), 2 * ELEMENTARY_FUNCTION_ULPS)

    def sum(self, axis: int) -> Tracked:
        """Sum over one axis, kept as length 1, with every addition in the format."""
        terms = self.exact.shape[axis]
        exact = self.exact.sum(axis=axis, keepdims=True)
        error = self.error.sum(axis=axis, keepdims=True)
        size = np.abs(self.exact).astype(np.float64) + self.error
        u = self.arithmetic.unit_roundoff + self.arithmetic.reference_unit_roundoff
        error = error + gamma(terms - 1, u) * size.sum(axis=axis, keepdims=True)
        error = error + terms * self.arithmetic.underflow
        return Tracked(exact, error, self.arithmetic)

    def at(self, index: NDArray[np.int64]) -> Tracked:
        """Picks ``index[i]`` from each row i of a matrix; shape ``(rows, 1)``."""
        where = index.reshape(-1, 1)
        return Tracked(
            np.take_along_axis(self.exact, where, axis=1),
            np.take_along_axis(self.error, where, axis=1),
            self.arithmetic,
        )


@dataclasses.dataclass(frozen=True)
class Discrepancy:
    """How a computed array differs from its enclosure.

    Attributes:
        max_error_over_bound: Largest error divided by its bound; above 1 the result is
            wrong. Infinite where a NaN or infinity is missing, misplaced or unexpected.
        signed_mean_error: Mean of (computed - exact) / bound over finite elements; near 0
            for rounding to nearest. NaN if there is no finite element.
        outward_mean_error: The same with the sign of the exact value taken out: positive
            if magnitudes are too large, negative if they are truncated.
        worst_index: Index of the element with the largest error over bound.
        worst_computed: That element as computed.
        worst_exact: That element of the exact result.
    """

    max_error_over_bound: float
    signed_mean_error: float
    outward_mean_error: float
    worst_index: tuple[int, ...]
    worst_computed: float
    worst_exact: float


def discrepancy(computed: Real, enclosure: Enclosure) -> Discrepancy:
    """Compares a computed array, of any floating dtype, with its enclosure.

    Raises:
        ValueError: The shapes differ, or there is no element.
    """
    exact, bound = enclosure.exact, enclosure.bound
    if computed.shape != exact.shape or computed.size == 0:
        raise ValueError(
            f"expected a non-empty array of shape {exact.shape}, got {computed.shape}."
        )
    if computed.dtype not in (np.float64, np.longdouble):
        computed = computed.astype(np.float64)
    computed = computed.astype(exact.dtype)
    both_finite = np.isfinite(computed) & np.isfinite(exact)
    with np.errstate(invalid="ignore"):
        error = np.where(both_finite, computed - exact, 0)
    same = (computed == exact) | (np.isnan(computed) & np.isnan(exact))
    scaled = np.asarray(error / np.where(bound > 0, bound, 1), np.float64)
    ratio = np.where((bound > 0) | (error == 0), np.abs(scaled), np.inf)
    ratio = np.where(both_finite | same, ratio, np.inf)
    worst = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
    usable = both_finite & (bound > 0)
    signed = scaled[usable]
    outward = signed * np.sign(np.asarray(exact[usable], np.float64))
    return Discrepancy(
        max_error_over_bound=float(ratio[worst]),
        signed_mean_error=float(signed.mean()) if signed.size else math.nan,
        outward_mean_error=float(outward.mean()) if outward.size else math.nan,
        worst_index=tuple(int(i) for i in worst),
        worst_computed=float(computed[worst]),
        worst_exact=float(exact[worst]),
    )
