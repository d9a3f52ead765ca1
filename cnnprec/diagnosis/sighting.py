"""What one replayed step shows: bad tensors, and the figures of a healthy or a sick step."""

from __future__ import annotations

import dataclasses
import enum

import numpy as np
import tensorflow as tf

from cnnprec.diagnosis.step import FloatArray
from cnnprec.precision.hyperparameters import Finding


class Cause(str, enum.Enum):
    """Why a training went wrong."""

    SECOND_MOMENT_UNDERFLOW = "the optimizer's second moment underflowed to zero"
    HYPERPARAMETER = "a hyper-parameter is not representable in the dtype that holds it"
    UPDATES_VANISH = "every update is zero although gradients are not"
    OUTSIDE = "the state was bad before the step, so it came in from outside"
    OVERFLOW = "finite numbers overflowed"
    INVALID = "a NaN arose"
    HANDLED = "the loss scaler skipped the step"
    ALWAYS_SKIPPED = "the loss scaler skipped every step"

    def __str__(self) -> str:
        return self.value


class Phase(str, enum.Enum):
    """Parts of a training step in the order in which it computes them."""

    STATE = "state before the step"
    FORWARD = "forward"
    LOSS = "loss"
    GRADIENT = "gradient"
    SLOT = "slot"
    UPDATE = "update"
    WEIGHT = "weight"

    def __str__(self) -> str:
        return self.value


# Phases whose tensors are gone after the step.
PASSING = frozenset({Phase.FORWARD, Phase.LOSS, Phase.GRADIENT})


@dataclasses.dataclass(frozen=True)
class Sighting:
    """A bad tensor.

    Attributes:
        step: The step, counted from 0.
        phase: Part of the step.
        layer: Name of the layer; ``"loss"`` for the loss.
        tensor: Such as ``"activation"``, ``"kernel gradient"`` or ``"bias velocity"``.
        nan, infinite, huge: How many elements are NaN, infinite, and finite but within a
            factor of two of overflow.
        elements: How many elements the tensor has.
        handled: Whether loss scaling skipped the step, so that no harm was done.
    """

    step: int
    phase: Phase
    layer: str
    tensor: str
    nan: int
    infinite: int
    huge: int
    elements: int
    handled: bool = False

    @property
    def cause(self) -> Cause:
        """What this tensor alone tells of the cause."""
        if self.handled:
            return Cause.HANDLED
        if self.phase is Phase.STATE:
            # What a step leaves behind is looked at in its own phases, slot and weight.
            return Cause.OUTSIDE
        return Cause.INVALID if self.nan else Cause.OVERFLOW

    def __str__(self) -> str:
        kinds = (("NaN", self.nan), ("infinite", self.infinite), ("near overflow", self.huge))
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds if count)
        return (
            f"step {self.step}, {self.phase}: {self.layer} {self.tensor} "
            f"({counts} of {self.elements})"
        )


@dataclasses.dataclass(frozen=True)
class StepReport:
    """What one step did, in numbers that tell a healthy step from a sick one.

    Attributes:
        step: The step, counted from 0.
        bad: Bad tensors in the order of computation.
        skipped: Whether a loss scaler skipped the step.
        second_moment_zero: Fraction of all weights whose first moment is not zero while the
            second is; None for optimizers that keep no second moment.
        largest_update: Largest ``|change|`` of a weight over what the optimizer can do in
            exact arithmetic; None for optimizers without such a bound.
        should_move: Fraction of all weights that a nonzero gradient pushes.
        moved: Fraction of all weights that changed.
        freezing: Where no weight changed, the hyper-parameters that make every update zero
            because the dtype of the weights cannot hold them.
    """

    step: int
    bad: tuple[Sighting, ...]
    skipped: bool
    second_moment_zero: float | None
    largest_update: float | None
    should_move: float
    moved: float
    freezing: tuple[Finding, ...] = ()

    @property
    def frozen(self) -> bool:
        """Whether gradients push and no weight moved, and no scaler skipped the step."""
        return not self.skipped and self.should_move > 0 and self.moved == 0

    @property
    def blew_up(self) -> bool:
        """Whether a weight moved further than exact arithmetic allows.

        The factor of two leaves room for the rounding of the update and of the weight it
        is added to; both are relative errors of a few units of roundoff, at most 2**-8
        each. The blow-up of half exceeds the bound hundreds of times.
        """
        return self.largest_update is not None and self.largest_update > 2


def inspect_tensor(
    step: int, phase: Phase, layer: str, tensor: str, value: FloatArray, dtype: str
) -> Sighting | None:
    """The tensor as a bad one; None if it is none.

    Args:
        step: The step, counted from 0.
        phase: Part of the step.
        layer: Name of the layer.
        tensor: Name of the tensor.
        value: Its numbers, float64 of any shape.
        dtype: Name of the dtype that it is stored in, which decides what is near overflow.
    """
    nan = int(np.count_nonzero(np.isnan(value)))
    infinite = int(np.count_nonzero(np.isinf(value)))
    limit = float(tf.as_dtype(dtype).max) / 2
    huge = int(np.count_nonzero(np.abs(value) >= limit)) - infinite
    if not nan + infinite + huge:
        return None
    return Sighting(step, phase, layer, tensor, nan, infinite, huge, value.size)
