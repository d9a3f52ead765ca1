"""How many numbers lie in each binade, and how many a dtype has lost.

A float is ``m * 2**e`` with ``1 <= m < 2``; its binade is ``e``. A histogram over binades
shows at a glance what a dtype can hold: float16 keeps all its digits from 2**-14 on, loses
them one by one down to 2**-24, and rounds everything smaller to zero.

NumPy only: this module never imports TensorFlow. That is also what makes it exact.
TensorFlow flushes float32 and bfloat16 subnormals to zero, even in a cast to float64.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from cnnprec.precision.formats import get_format
from cnnprec.precision.precisions import Precision
from cnnprec.text import Word, aligned

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

    def percent(self, count: int) -> str:
        """A count in percent of all elements, with one decimal.

        Only none at all is ``0%`` and only all is ``100%``: what rounds to them is ``<0.1%`` or
        ``>99.9%``.
        """
        share = self.share(count)
        if share in (0, 1):
            return f"{share:.0%}"
        if share < 0.001:
            return "<0.1%"
        return ">99.9%" if share > 0.999 else f"{share:.1%}"

    @property
    def spread(self) -> tuple[int, ...]:
        """The smallest binade, that of the median, and the largest; empty without any."""
        if not self.binades:
            return ()
        running = list(itertools.accumulate(self.binades.values()))
        middle = next(e for e, n in zip(self.binades, running, strict=True) if n > running[-1] // 2)
        return min(self.binades), middle, max(self.binades)


class Kind(Word):
    """What a snapshot holds. Moments are Adam's running means."""

    WEIGHTS = "weights"  # after the step
    ACTIVATIONS = "activations"  # outputs of the layers that have weights
    GRADIENTS = "gradients"  # of the weights as the optimizer gets them: without a loss scale
    SCALED_GRADIENTS = "scaled gradients"  # times the loss scale, as the layers compute them
    FIRST_MOMENT = "first moment"  # of the gradients, after the step
    SECOND_MOMENT = "second moment"  # of the squared gradients, after the step
    UPDATES = "updates"  # what the step added to the weights


@dataclasses.dataclass(frozen=True, eq=False)
class Snapshot:
    """All numbers of one kind in one training step.

    Attributes:
        precision: The precision trained in.
        kind: What the numbers are.
        dtype: Name of the dtype that they are stored in during training.
        values: float64 ``[n]``, which holds the numbers of every other dtype exactly. All
            kinds but activations have one number per weight, in the same order.
        loss_scale: The loss scale that the step was computed with; None without loss
            scaling.
        skipped: Whether loss scaling skipped the step because a gradient overflowed.
    """

    precision: Precision
    kind: Kind
    dtype: str
    values: FloatArray
    loss_scale: float | None = None
    skipped: bool = False

    @functools.cached_property
    def histogram(self) -> Histogram:
        """The numbers by binade."""
        return histogram(self.values, self.dtype)


def histogram(values: npt.ArrayLike, dtype: str) -> Histogram:
    """Counts the elements of an array by binade.

    Args:
        values: Real numbers of any shape, as they were stored or cast to a wider dtype.
        dtype: Name of the dtype they were stored in, which decides what is subnormal.
    """
    array = np.asarray(values).astype(np.float64).ravel()
    finite = array[np.isfinite(array)]
    nonzero = finite[finite != 0]
    nan = int(np.count_nonzero(np.isnan(array)))
    # frexp gives m in [1/2, 1), which makes its exponent one more than ours. It is exact
    # for subnormals too, where a logarithm would not be.
    exponents = np.frexp(nonzero)[1].astype(np.int64) - 1
    lowest = int(exponents.min(initial=0))
    # Sorting a million numbers, as numpy.unique does, takes ten times as long.
    counts = np.bincount(exponents - lowest)
    return Histogram(
        dtype,
        MappingProxyType({lowest + int(e): int(counts[e]) for e in np.flatnonzero(counts)}),
        zero=finite.size - nonzero.size,
        infinite=array.size - finite.size - nan,
        nan=nan,
    )


def table(snapshots: Sequence[Snapshot]) -> list[str]:
    """The counts as text: one row per snapshot, shares in percent of all its elements.

    The columns ``<2^-14`` and ``<2^-24`` are the shares of numbers that are not zero but
    would be subnormal or below the smallest number in float16, whatever dtype holds them.
    ``binades`` is the smallest, the median's and the largest exponent.

    Returns:
        Lines without line ends, the headings first.
    """
    words = ("precision", "kind", "dtype")
    shares = ("zero", "subnormal", "<2^-14", "<2^-24", "Inf", "NaN")
    rows: list[tuple[str, ...]] = [(*words, "elements", *shares, "binades")]
    for snapshot in snapshots:
        counts = snapshot.histogram
        lost = (counts.zero, counts.subnormal, counts.below(-14), counts.below(-24))
        rows.append(
            (
                *(snapshot.precision.name, str(snapshot.kind), snapshot.dtype),
                str(counts.elements),
                *(counts.percent(count) for count in (*lost, counts.infinite, counts.nan)),
                " ".join(map(str, counts.spread)) or "-",
            )
        )
    return aligned(rows, left=len(words))
