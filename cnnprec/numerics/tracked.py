"""Running error analysis: numbers that carry a bound on their error."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from cnnprec.numerics.bounds import SAFETY, Arithmetic, Enclosure, gamma
from cnnprec.precision.formats import Real

_ELEMENTARY_ROUNDOFFS = 4  # the largest error of exp, log and pow; two make an ulp (docs/bounds.md)


@dataclasses.dataclass(frozen=True)
class Tracked:
    """A number with a bound on the error that its computed counterpart has so far.

    Running error analysis: docs/bounds.md has the rule of each operation. One whose result may not
    exist raises a ValueError.
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
        return Enclosure(self.exact, SAFETY * np.asarray(self.error, np.float64))

    @property
    def _roundoff(self) -> float:
        """That of the format and that of the reference, so that the error covers both sides."""
        return self.arithmetic.format.unit_roundoff + self.arithmetic.reference_unit_roundoff

    def _result(self, exact: Real, error: Real, roundoffs: int = 1) -> Tracked:
        """Adds the rounding of one operation to the propagated error."""
        propagated = np.asarray(error, np.float64)
        size = np.abs(exact).astype(np.float64) + propagated
        total = propagated + roundoffs * self._roundoff * size + self.arithmetic.format.underflow
        return Tracked(exact, np.asarray(total), self.arithmetic)

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
        right = self._lift(other)
        size = np.abs(right.exact)
        if np.any(right.error >= size):
            raise ValueError("the divisor is not bounded away from zero.")
        quotient = self.exact / right.exact
        error = (self.error + np.abs(quotient) * right.error) / (size - right.error)
        return self._result(quotient, error)

    def sqrt(self) -> Tracked:
        """Square root, correctly rounded as IEEE 754 demands."""
        if np.any(self.error > self.exact):
            raise ValueError("the argument of sqrt may be negative.")
        root = np.sqrt(self.exact)
        total = root + np.sqrt(self.exact - self.error)
        # x = 0 has e = 0.
        return self._result(root, self.error / np.where(total > 0, total, 1))

    def exp(self) -> Tracked:
        """Exponential."""
        value = np.exp(self.exact)
        return self._result(value, value * np.expm1(self.error), _ELEMENTARY_ROUNDOFFS)

    def log(self) -> Tracked:
        """Natural logarithm."""
        if np.any(self.error >= self.exact):
            raise ValueError("the argument of log may be zero or negative.")
        error = -np.log1p(-self.error / self.exact)
        return self._result(np.log(self.exact), error, _ELEMENTARY_ROUNDOFFS)

    def power(self, exponent: int) -> Tracked:
        """Power of an exact base."""
        if np.any(self.error > 0):
            raise ValueError("power needs an exact base.")
        value = self.exact**exponent
        return self._result(value, np.zeros(value.shape), _ELEMENTARY_ROUNDOFFS)

    def sum(self, axis: int) -> Tracked:
        """Sum over one axis, kept as length 1, with every addition in the format."""
        terms = self.exact.shape[axis]
        exact = self.exact.sum(axis=axis, keepdims=True)
        error = self.error.sum(axis=axis, keepdims=True)
        size = np.abs(self.exact).astype(np.float64) + self.error
        error = error + gamma(terms - 1, self._roundoff) * size.sum(axis=axis, keepdims=True)
        error = error + terms * self.arithmetic.format.underflow
        return Tracked(exact, error, self.arithmetic)

    def at(self, index: NDArray[np.int64]) -> Tracked:
        """Picks ``index[i]`` from each row i of a matrix; shape ``(rows, 1)``."""
        where = index.reshape(-1, 1)
        exact, error = (np.take_along_axis(x, where, axis=1) for x in (self.exact, self.error))
        return Tracked(exact, error, self.arithmetic)
