"""What a GPU went through during a measurement."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import msgspec

_Number = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]  # what reading accepts

GPU_CYCLE = "gpu cycle"
"""Name of the time of a clock cycle among the calibrators of a record."""


@dataclasses.dataclass(frozen=True)
class GpuState:
    """What a GPU went through during one round.

    Attributes:
        throttled: The reasons for which the GPU was slowed down, such as ``"thermal"``.
        new_ecc_errors: Uncorrected memory errors; None where the GPU does not count them.
        xid_errors: Numbers of the Xid errors that the driver reported.
        temperature_celsius, sm_clock_mhz, power_watts: At the end of the round; None where
            they are not reported. The clock is that of the multiprocessors.
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
