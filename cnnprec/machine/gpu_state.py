"""What a GPU went through during a measurement."""

import dataclasses
from typing import Annotated

import msgspec

_Number = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]  # what reading accepts

GPU_CYCLE = "gpu cycle"  # name of a clock cycle's time among the calibrators of a record


@dataclasses.dataclass(frozen=True)
class GpuState:
    """What a GPU went through during one round; None stands for what is not reported."""

    throttled: tuple[str, ...]  # why it was slowed down, such as ``"thermal"``
    new_ecc_errors: _Number | None  # of its memory, uncorrected
    xid_errors: tuple[_Number, ...]  # as the driver numbers them
    temperature_celsius: _Number | None  # at the end of the round, as what follows
    sm_clock_mhz: _Number | None  # of the multiprocessors
    power_watts: float | None
    # Older records lack the rest.
    new_corrected_errors: _Number | None = None  # of its memory, in this round
    repairs: tuple[str, ...] = ()  # what its memory needs, such as ``"row remapping pending"``
    remapped_rows: _Number | None = None  # of its memory, in its whole life
    pcie_lanes: tuple[_Number, _Number] | None = None  # in use, and what card and slot can
    pcie_generation: tuple[_Number, _Number] | None = None  # the same, the most seen under load
    other_processes: _Number | None = None  # that computed on it at the end of the round

    @property
    def faulty(self) -> bool:
        """Whether the hardware reported an error; results of the round cannot be trusted."""
        return bool(self.new_ecc_errors or self.xid_errors or self.repairs)
