"""What a GPU says of itself; no baseline is needed to judge it.

What NVML does not report is not known and judged by nothing.
"""

from collections.abc import Sequence

from cnnprec.machine.gpu_state import GpuState
from cnnprec.text import count_of


def gpu_faults(states: Sequence[GpuState]) -> list[str]:
    """Why these GPUs are not sound, in sentences."""
    wrong = []
    if faulty := [state for state in states if state.faulty]:
        xids = sorted({number for state in faulty for number in state.xid_errors})
        memory = sum(state.new_ecc_errors or 0 for state in faulty)
        repairs = dict.fromkeys(repair for state in faulty for repair in state.repairs)
        due = "".join(f"{repair}, reset or replace it; " for repair in repairs)
        wrong.append(
            f"the GPU reported errors during the measurement: {memory} uncorrected memory errors, "
            f"Xid {', '.join(map(str, xids)) or 'none'}; {due}its results cannot be trusted"
        )
    links = {state.pcie_lanes for state in states if state.pcie_lanes}
    return wrong + [
        f"the GPU's PCIe link has {now} of {most} lanes: reseat the card, look at slot and riser"
        for now, most in sorted(links)
        if now < most
    ]


def gpu_notices(states: Sequence[GpuState]) -> list[str]:
    """What is worth a sentence and is no failure."""
    found = []
    if corrected := sum(state.new_corrected_errors or 0 for state in states):
        text = count_of(corrected, "memory error")
        found.append(f"the GPU corrected {text} during the measurement; watch whether they grow")
    links = {state.pcie_generation for state in states if state.pcie_generation}
    return found + [
        f"the GPU's PCIe link ran at generation {now} of {most} under load: look at the BIOS"
        for now, most in sorted(links)
        if now < most
    ]
