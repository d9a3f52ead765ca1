"""How far single operations and the first training steps are from what they should give."""

import dataclasses
from typing import NamedTuple

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
