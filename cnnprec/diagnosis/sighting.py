"""What one replayed step shows: bad tensors, and the figures of a healthy or a sick step."""

import dataclasses

from cnnprec.precision.hyperparameters import Finding
from cnnprec.text import Word


class Phase(Word):
    """Parts of a training step in the order in which it computes them."""

    STATE = "state before the step"
    FORWARD = "forward"
    LOSS = "loss"
    GRADIENT = "gradient"
    SLOT = "slot"
    UPDATE = "update"
    WEIGHT = "weight"


# Phases whose tensors are gone after the step.
_PASSING = frozenset({Phase.FORWARD, Phase.LOSS, Phase.GRADIENT})


@dataclasses.dataclass(frozen=True)
class Sighting:
    """A bad tensor of a layer or the loss, and how many of its elements are bad."""

    step: int  # from 0
    phase: Phase
    layer: str
    tensor: str  # such as ``"kernel gradient"``
    nan: int
    infinite: int
    huge: int  # within a factor of two of overflow
    elements: int

    def __str__(self) -> str:
        kinds = (("NaN", self.nan), ("infinite", self.infinite), ("near overflow", self.huge))
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds if count)
        where = f"step {self.step}, {self.phase}: {self.layer} {self.tensor}"
        return f"{where} ({counts} of {self.elements})"


@dataclasses.dataclass(frozen=True)
class StepReport:
    """What one step did, in numbers that tell a healthy step from a sick one."""

    step: int
    bad: tuple[Sighting, ...]  # in the order of computation
    skipped: bool
    second_moment_zero: float | None  # fraction of weights whose second moment alone is 0, if any
    largest_update: float | None  # largest change of a weight over Adam's bound, where it has one
    should_move: float  # fraction of weights that a nonzero gradient pushes
    moved: float  # fraction of weights that changed
    freezing: tuple[Finding, ...] = ()  # where none changed, settings whose cast made updates zero

    @property
    def harmless(self) -> bool:
        """Whether a scaler skipped the step and nothing bad is left of it."""
        return self.skipped and all(bad.phase in _PASSING for bad in self.bad)

    @property
    def frozen(self) -> bool:
        """Whether gradients push and no weight moved, and no scaler skipped the step."""
        return not self.skipped and self.should_move > 0 and self.moved == 0

    @property
    def blew_up(self) -> bool:
        """Whether a weight moved further than Adam and its rounding allow (docs/bounds.md)."""
        return self.largest_update is not None and self.largest_update > 2
