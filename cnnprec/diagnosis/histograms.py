"""How many numbers lie in each binade, and how many a dtype has lost.

A float is ``m * 2**e`` with ``1 <= m < 2``; its binade is ``e``. A histogram over binades
shows at a glance what a dtype can hold: float16 keeps all its digits from 2**-14 on, loses
them one by one down to 2**-24, and rounds everything smaller to zero.

NumPy only: this module never imports TensorFlow. That is also what makes it exact.
TensorFlow flushes float32 and bfloat16 subnormals to zero, even in a cast to float64.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from cnnprec.precision.formats import FORMATS, FloatFormat, get_format
from cnnprec.precision.precisions import Precision
from cnnprec.text import aligned

FloatArray = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Histogram:
    """Counts of one tensor, or of several taken together.

    Attributes:
        dtype: The dtype that the elements were stored in. It decides what is subnormal.
        binades: Count of the finite nonzero elements by binary exponent, in its order.
        zero: Elements that are zero, of either sign.
        infinite: Elements that are infinite, of either sign.
        nan: Elements that are NaN.
    """

    dtype: str
    binades: Mapping[int, int]
    zero: int
    infinite: int
    nan: int

    @property
    def elements(self) -> int:
        """All elements counted."""
        return sum(self.binades.values()) + self.zero + self.infinite + self.nan

    @property
    def subnormal(self) -> int:
        """Elements below the smallest normal number; they are in `binades` too."""
        return self.below(get_format(self.dtype).min_exponent)

    def below(self, exponent: int) -> int:
        """Elements with ``0 < |x| < 2**exponent``."""
        return sum(count for binade, count in self.binades.items() if binade < exponent)

    def share(self, count: int) -> float:
        """A count as a fraction of all elements, 0 to 1; 0 if there are none."""
        return count / self.elements if count else 0.0

    def quantile(self, fraction: float) -> int | None:
        """The binade that holds this quantile of the finite nonzero elements.

        Args:
            fraction: 0 for the smallest binade, 0.5 for the median's, 1 for the largest.

        Returns:
            None if no element is finite and nonzero.

        Raises:
            ValueError: The fraction is outside 0 to 1.
        """
        if not 0 <= fraction <= 1:
            raise ValueError(f"quantile {fraction} is not a fraction; give a number from 0 to 1")
        if not self.binades:
            return None
        exponents = sorted(self.binades)
        running = list(itertools.accumulate(self.binades[exponent] for exponent in exponents))
        place = min(int(fraction * running[-1]), running[-1] - 1)
        return next(e for e, until in zip(exponents, running, strict=True) if place < until)

    def __add__(self, other: Histogram) -> Histogram:
        if self.dtype != other.dtype:
            raise ValueError(
                f"cannot add histograms of {self.dtype} and {other.dtype}: what is subnormal "
                "differs; add histograms of one dtype"
            )
        exponents = sorted({*self.binades, *other.binades})
        return Histogram(
            self.dtype,
            MappingProxyType(
                {e: self.binades.get(e, 0) + other.binades.get(e, 0) for e in exponents}
            ),
            self.zero + other.zero,
            self.infinite + other.infinite,
            self.nan + other.nan,
        )


class Kind(str, enum.Enum):
    """What a snapshot holds."""

    WEIGHTS = "weights"
    """Weights after the step."""
    ACTIVATIONS = "activations"
    """Outputs of the layers that have weights."""
    GRADIENTS = "gradients"
    """Gradients of the weights as the optimizer gets them: without a loss scale."""
    SCALED_GRADIENTS = "scaled gradients"
    """The same times the loss scale, as the layers compute them."""
    FIRST_MOMENT = "first moment"
    """Adam's running mean of the gradients after the step."""
    SECOND_MOMENT = "second moment"
    """Adam's running mean of the squared gradients after the step."""
    UPDATES = "updates"
    """What the step added to the weights."""

    def __str__(self) -> str:
        return self.value


@dataclasses.dataclass(frozen=True, eq=False)
class Snapshot:
    """All numbers of one kind in one training step. The array is made read-only.

    Attributes:
        precision: The precision trained in.
        step: The step, counted from 0.
        kind: What the numbers are.
        dtype: Name of the dtype that they are stored in during training.
        values: float64 ``[n]``, which holds the numbers of every other dtype exactly. All
            kinds but activations have one number per weight, in the same order.
        loss_scale: The loss scale that the step was computed with; None without loss
            scaling.
        skipped: Whether loss scaling skipped the step because a gradient overflowed.
    """

    precision: Precision
    step: int
    kind: Kind
    dtype: str
    values: FloatArray
    loss_scale: float | None = None
    skipped: bool = False

    def __post_init__(self) -> None:
        self.values.flags.writeable = False

    @functools.cached_property
    def histogram(self) -> Histogram:
        """The numbers by binade."""
        return histogram(self.values, self.dtype)


def histogram(values: npt.ArrayLike, dtype: str) -> Histogram:
    """Counts the elements of an array by binade.

    Args:
        values: Real numbers of any shape, stored in any dtype of
            `cnnprec.bounds.FORMATS`, in integers, or cast from `dtype` to a wider one.
        dtype: Name of the dtype they were stored in, which decides what is subnormal.

    Raises:
        ValueError: The dtype is unknown.
        TypeError: The values are not real numbers.
    """
    get_format(dtype)
    array = np.asarray(values)
    # bfloat16 is an extension type, of kind "V".
    if array.dtype.kind not in "fiu" and array.dtype.name not in FORMATS:
        raise TypeError(
            f"values of dtype {array.dtype} have no binades; give integers or {', '.join(FORMATS)}"
        )
    array = array.astype(np.float64).ravel()
    finite = array[np.isfinite(array)]
    nonzero = finite[finite != 0]
    nan = int(np.count_nonzero(np.isnan(array)))
    return Histogram(
        dtype,
        _count(nonzero),
        zero=finite.size - nonzero.size,
        infinite=array.size - finite.size - nan,
        nan=nan,
    )


def _count(nonzero: FloatArray) -> Mapping[int, int]:
    if not nonzero.size:
        return MappingProxyType({})
    # frexp gives m in [1/2, 1), which makes its exponent one more than ours. It is exact
    # for subnormals too, where a logarithm would not be.
    exponents = np.frexp(nonzero)[1].astype(np.int64) - 1
    lowest = int(exponents.min())
    # Sorting a million numbers, as numpy.unique does, takes ten times as long.
    counts = np.bincount(exponents - lowest)
    return MappingProxyType(
        {lowest + int(place): int(counts[place]) for place in np.flatnonzero(counts)}
    )


def total(histograms: Iterable[Histogram]) -> Histogram:
    """All histograms taken together.

    Raises:
        ValueError: There are none, or they are of different dtypes.
    """
    found = list(histograms)
    if not found:
        raise ValueError("no histograms to add; give at least one")
    return functools.reduce(lambda left, right: left + right, found)


def vanishing_exponent(form: FloatFormat) -> int:
    """The e for which every ``|x| <= 2**e`` rounds to zero, and nothing larger does.

    Half the smallest subnormal number lies between it and zero and is rounded to the even
    one, which is zero. TensorFlow rounds so in float16 alone; results in the other formats
    it flushes to zero from the smallest normal number on.
    """
    return form.min_exponent - form.significand_bits


def table(snapshots: Sequence[Snapshot]) -> list[str]:
    """The counts as text: one row per snapshot, shares in percent of all its elements.

    The columns ``<2^-14`` and ``<2^-24`` are the shares of numbers that are not zero but
    would be subnormal or below the smallest number in float16, whatever dtype holds them.
    ``binades`` is the smallest, the median's and the largest exponent.

    Returns:
        Lines without line ends, the headings first.
    """
    return aligned([_HEADINGS, *(_row(snapshot) for snapshot in snapshots)], left=_LEFT)


def percent(fraction: float) -> str:
    """A fraction in percent with one decimal.

    Only none at all is ``0%`` and only all is ``100%``: what rounds to them is ``<0.1%`` or
    ``>99.9%``.
    """
    if fraction in (0, 1):
        return f"{fraction:.0%}"
    if fraction < 0.001:
        return "<0.1%"
    return ">99.9%" if fraction > 0.999 else f"{fraction:.1%}"


_HALF = get_format("float16")

_HALF_SMALLEST = _HALF.min_exponent - _HALF.significand_bits + 1

_HEADINGS = (
    "precision",
    "kind",
    "dtype",
    "elements",
    "zero",
    "subnormal",
    f"<2^{_HALF.min_exponent}",
    f"<2^{_HALF_SMALLEST}",
    "Inf",
    "NaN",
    "binades",
)

# Columns of words.
_LEFT = 3


def _row(snapshot: Snapshot) -> tuple[str, ...]:
    counts = snapshot.histogram
    shares = (
        counts.zero,
        counts.subnormal,
        counts.below(_HALF.min_exponent),
        counts.below(_HALF_SMALLEST),
        counts.infinite,
        counts.nan,
    )
    quantiles = [counts.quantile(fraction) for fraction in (0, 0.5, 1)]
    return (
        snapshot.precision.name,
        str(snapshot.kind),
        snapshot.dtype,
        str(counts.elements),
        *(percent(counts.share(count)) for count in shares),
        " ".join(map(str, quantiles)) if counts.binades else "-",
    )
