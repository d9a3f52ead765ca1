"""How far single operations and the first training steps are from what they should give."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

FLOAT64_STEPS = 3
"""Training steps that are repeated in float64."""


class ProbeGroup(NamedTuple):
    """Probes of one kind of operation in the compute dtype, such as ``"conv2d.forward"``.

    Attributes:
        name: Which.
        error: Largest error over its bound, known defects apart; above 1 a result is wrong.
        mean: The mean error over bound, signed or outward, that is farthest from 0, likewise.
        sha256: Start of the hash of all results, known defects included.
    """

    name: str
    error: float
    mean: float
    sha256: str


class TensorErrors(NamedTuple):
    """How the first steps of one weight differ from float64.

    Errors are the largest over the elements, relative to the tensor's root mean square.

    Attributes:
        tensor: Layer and weight, such as ``"conv1 kernel"``.
        gradient: Error of the gradient of the first step.
        scale: By how much that gradient is too large as a whole: 0.01 is 1 %.
        velocity: Error of Adam's second moment, given the gradient; the largest of the steps.
        update: Error of the step of the weight, given Adam's moments; the largest of the steps.
    """

    tensor: str
    gradient: float
    scale: float
    velocity: float
    update: float


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
