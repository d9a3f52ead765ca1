"""What the device can do in one precision, and what a training step asks of it."""

import dataclasses
from typing import Annotated, Literal, NamedTuple

import msgspec

_Rate = Annotated[float, msgspec.Meta(ge=1, le=1e24)]
_Seconds = Annotated[float, msgspec.Meta(ge=1e-12, le=1e9)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class DeviceLimits(NamedTuple):
    """The highest rates that were reached in a compute dtype; see docs/limits.md."""

    product: _Rate  # of large matrix products, FLOP/s
    convolution: _Rate  # of large convolutions, FLOP/s
    gradient: _Rate  # of the two gradients of large convolutions, FLOP/s
    bandwidth: _Rate  # of the device's memory, bytes read and written, B/s
    launch_seconds: _Seconds  # that one more small operation takes

    @property
    def highest(self) -> float:
        """The highest of the rates of arithmetic, FLOP/s."""
        return max(self.product, self.convolution, self.gradient)


class StepPart(NamedTuple):
    """What one layer needs in one direction, for the whole batch."""

    name: str  # such as ``"conv2 backward"``
    kind: Literal["product", "convolution", "gradient"]  # of its operations
    operations: _Count  # floating-point, a multiplication and an addition being two
    traffic: _Count  # bytes that have to be read and written at least


class StepTimes(NamedTuple):
    """Seconds of a step that ends after each of its stages, each with those before it."""

    input: _Seconds  # taking the next batch
    forward: _Seconds  # and the loss
    backward: _Seconds  # and the gradients
    step: _Seconds  # and the optimizer


@dataclasses.dataclass(frozen=True)
class StepLimits:
    """One precision's training step beside the limits of the device."""

    device: DeviceLimits
    parts: tuple[StepPart, ...]  # in the order of the layers, the optimizer last
    launches: _Count  # operations that a step launches one by one
    times: StepTimes

    @property
    def operations(self) -> int:
        """Floating-point operations of all convolutions and products of a step."""
        return sum(part.operations for part in self.parts)
