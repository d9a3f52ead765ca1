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
    """What was found out about the numbers themselves; see docs/driver-validation.md.

    Attributes:
        level: ``"quick"`` or ``"full"``: which probes ran.
        probes: A row for each kind of operation.
        wrong: Probes over their bound and no known defect, as sentences.
        unsteady: Probes whose second run gave other bytes.
        losses: Relative errors of the losses of the first steps, given the weights.
        tensors: A row for each weight.
        miscounted: Of 100 test images, how many more or fewer the evaluation called right than
            float64 does with the same weights.
    """

    level: str
    probes: tuple[ProbeGroup, ...]
    wrong: tuple[str, ...]
    unsteady: tuple[str, ...]
    losses: tuple[float, ...]
    tensors: tuple[TensorErrors, ...]
    miscounted: int
