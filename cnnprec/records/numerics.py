"""How far single operations and the first training steps are from what they should give."""

import dataclasses
import itertools
from typing import Annotated, NamedTuple

import msgspec

from cnnprec.text import Word

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

FLOAT64_STEPS = 3  # training steps that are repeated in float64


class ProbeGroup(NamedTuple):
    """Probes of one kind of operation in the compute dtype, known defects apart."""

    name: str  # such as ``"conv2d.forward"``
    error: float  # largest error over its bound; above 1 a result is wrong
    mean: float  # the mean error over bound, signed or outward, that is farthest from 0
    sha256: str  # start of the hash of all results, known defects included


class TensorErrors(NamedTuple):
    """How the first steps of one weight differ from float64.

    Errors are the largest over the elements, relative to the tensor's root mean square.
    """

    tensor: str  # layer and weight, such as ``"conv1 kernel"``
    gradient: float  # error of the gradient of the first step
    scale: float  # by how much that gradient is too large as a whole: 0.01 is 1 %
    velocity: float  # error of Adam's second moment after the first step, given the gradient
    update: float  # error of the weight's change, given Adam's moments; the largest of the steps


class Kind(Word):
    """What a histogram counts, of the first training step."""

    GRADIENTS = "gradients"  # of the weights as the optimizer gets them: without a loss scale
    SCALED_GRADIENTS = "scaled gradients"  # times the loss scale, as the layers compute them
    SECOND_MOMENTS = "second moments"  # Adam's, after the step
    WEIGHTS = "weights"  # after the step


class Histogram(NamedTuple):
    """How many elements of all weights lie in each binade, and the others.

    A float is ``m * 2**e`` with ``1 <= m < 2``; its binade is ``e``.
    """

    kind: Kind
    zero: _Count
    infinite: _Count
    nan: _Count
    first: Annotated[int, msgspec.Meta(ge=-2000, le=2000)]  # the smallest binade
    counts: Annotated[tuple[_Count, ...], msgspec.Meta(max_length=4000)]  # of `first` and the next

    @property
    def elements(self) -> int:
        """All elements counted."""
        return sum(self.counts) + self.zero + self.infinite + self.nan

    def below(self, exponent: int) -> int:
        """Elements with ``0 < |x| < 2**exponent``."""
        return sum(self.counts[: max(exponent - self.first, 0)])

    @property
    def median(self) -> int:
        """The binade of the median of the finite nonzero elements; there is at least one."""
        half = sum(self.counts) // 2
        sums = enumerate(itertools.accumulate(self.counts), self.first)
        return next(binade for binade, below in sums if below > half)


@dataclasses.dataclass(frozen=True)
class Numerics:
    """What was found out about the numbers themselves; see docs/driver-validation.md."""

    level: str  # ``"quick"`` or ``"full"``: which probes ran
    probes: tuple[ProbeGroup, ...]  # a row for each kind of operation
    wrong: tuple[str, ...]  # probes over their bound and no known defect, as sentences
    unsteady: tuple[str, ...]  # probes whose second run gave other bytes
    losses: tuple[float, ...]  # relative errors of the losses of the first steps, given the weights
    tensors: tuple[TensorErrors, ...]  # a row for each weight
    miscounted: int  # right answers of the evaluation less float64's, of 100 images, same weights
    binades: tuple[Histogram, ...] = ()  # by `Kind`, in its order
