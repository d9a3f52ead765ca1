"""What a GPU went through during a measurement."""

import dataclasses
from typing import Annotated

import msgspec

_Number = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]  # what reading accepts

GPU_CYCLE = "gpu cycle"  # name of a clock cycle's time among the calibrators of a record


@dataclasses.dataclass(frozen=True)
class GpuState:
    """What a GPU went through during one round; None stands for what is not reported.

    `throttled` has the reasons for which it was slowed down, such as ``"thermal"``. Memory errors
    are the uncorrected ones, Xid errors those that the driver reported. The last three values,
    of which the clock is that of the multiprocessors, are from the end of the round.
    """

    throttled: tuple[str, ...]
    new_ecc_errors: _Number | None
    xid_errors: tuple[_Number, ...]
    temperature_celsius: _Number | None
    sm_clock_mhz: _Number | None
    power_watts: float | None

    @property
    def faulty(self) -> bool:
        """Whether the hardware reported an error; results of the round cannot be trusted."""
        return bool(self.new_ecc_errors or self.xid_errors)
