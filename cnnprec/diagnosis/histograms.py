"""How many numbers lie in each binade, and how many a dtype has lost.

A float is ``m * 2**e`` with ``1 <= m < 2``; its binade is ``e``. NumPy only, which also makes it
exact: TensorFlow flushes float32 and bfloat16 subnormals to zero, even in a cast to float64.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cnnprec.precision.formats import get_format
from cnnprec.precision.precisions import Precision
from cnnprec.text import Word, aligned


@dataclasses.dataclass(frozen=True)
class Histogram:
    """Counts of elements: the finite nonzero ones by binary exponent, and the others."""

    dtype: str  # that they were stored in, which decides what is subnormal
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
        """A count in percent of all elements; only none at all is ``0%``, only all ``100%``."""
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
        exponents = np.repeat(list(self.binades), list(self.binades.values()))
        return min(self.binades), int(exponents[exponents.size // 2]), max(self.binades)


def histogram(values: npt.ArrayLike, dtype: str) -> Histogram:
    """Counts the elements of an array, of any shape, that were stored in the dtype, by binade."""
    array = np.asarray(values).astype(np.float64).ravel()
    finite = array[np.isfinite(array)]
    nonzero = finite[finite != 0]
    nan = int(np.count_nonzero(np.isnan(array)))
    # frexp gives m in [1/2, 1), so its exponent is one more. It is exact for subnormals too.
    exponents, counts = np.unique(np.frexp(nonzero)[1] - 1, return_counts=True)
    return Histogram(
        dtype,
        dict(zip(exponents.tolist(), counts.tolist(), strict=True)),
        zero=finite.size - nonzero.size,
        infinite=array.size - finite.size - nan,
        nan=nan,
    )


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
    """All numbers of one kind in one training step, and the dtype that they are stored in."""

    precision: Precision
    kind: Kind
    dtype: str
    values: npt.NDArray[np.float64]  # ``[n]``: of all kinds but activations one for each weight
    loss_scale: float | None = None  # of the step; None without loss scaling
    skipped: bool = False  # whether loss scaling skipped the step because a gradient overflowed

    @functools.cached_property
    def histogram(self) -> Histogram:
        """The numbers by binade."""
        return histogram(self.values, self.dtype)


def table(snapshots: Sequence[Snapshot]) -> list[str]:
    """The counts as lines of text: one row per snapshot, shares in percent of all its elements."""
    words = ("precision", "kind", "dtype")
    # The powers would be subnormal and zero in float16, whatever dtype holds them.
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
