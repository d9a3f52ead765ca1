"""What NVIDIA's driver says of the GPUs, without TensorFlow; nothing where there are none."""

import dataclasses
import os
from typing import Any

import pynvml


@dataclasses.dataclass(frozen=True)
class Gpu:
    """One GPU. ``None`` stands for what this GPU or driver does not report."""

    model: str
    memory_bytes: int | None
    compute_capability: tuple[int, int] | None
    driver: str | None
    vbios: str | None
    power_limit_watts: float | None
    mig_mode: str | None
    uuid: str | None = None
    other_processes: int | None = None  # that compute on it


def query_gpus(nvml: Any = None) -> tuple[Gpu, ...]:
    """Returns the GPUs that CUDA programs of this process may use, in the order of the PCI bus.

    CUDA has that order only under ``CUDA_DEVICE_ORDER=PCI_BUS_ID``. ``CUDA_VISIBLE_DEVICES`` is
    obeyed where it holds indices or UUIDs.
    """
    nvml = nvml or pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return ()
    try:
        return tuple(_describe(nvml, handle) for handle in visible_gpus(nvml))
    finally:
        nvml.nvmlShutdown()


def visible_gpus(nvml: Any) -> list[Any]:
    """Handles of the GPUs of `query_gpus`."""
    count = ask(nvml, "nvmlDeviceGetCount") or 0
    # A GPU that fell off the bus has no handle any more, and CUDA cannot use it either.
    answers = [ask(nvml, "nvmlDeviceGetHandleByIndex", index) for index in range(count)]
    handles = [handle for handle in answers if handle is not None]
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return handles
    uuids = [ask(nvml, "nvmlDeviceGetUUID", handle) or "" for handle in handles]
    chosen = []
    for entry in filter(None, (part.strip() for part in wanted.split(","))):
        if entry.isdecimal():
            matches = handles[int(entry) : int(entry) + 1]
        else:
            # CUDA accepts a UUID's beginning.
            matches = [h for h, uuid in zip(handles, uuids, strict=True) if uuid.startswith(entry)]
        if not matches:
            break  # CUDA's rule: the first invalid entry hides itself and all behind it.
        chosen.append(matches[0])
    return chosen


def _describe(nvml: Any, handle: Any) -> Gpu:
    memory = ask(nvml, "nvmlDeviceGetMemoryInfo", handle)
    capability = ask(nvml, "nvmlDeviceGetCudaComputeCapability", handle)
    milliwatts = ask(nvml, "nvmlDeviceGetEnforcedPowerLimit", handle)
    mig = ask(nvml, "nvmlDeviceGetMigMode", handle)
    running = ask(nvml, "nvmlDeviceGetComputeRunningProcesses", handle)
    return Gpu(
        model=ask(nvml, "nvmlDeviceGetName", handle) or "unknown GPU",
        memory_bytes=None if memory is None else int(memory.total),
        compute_capability=None if capability is None else (capability[0], capability[1]),
        driver=ask(nvml, "nvmlSystemGetDriverVersion"),
        vbios=ask(nvml, "nvmlDeviceGetVbiosVersion", handle),
        power_limit_watts=None if milliwatts is None else milliwatts / 1000,
        mig_mode=None if mig is None else ("on" if mig[0] else "off"),
        uuid=ask(nvml, "nvmlDeviceGetUUID", handle),
        other_processes=None if running is None else sum(p.pid != os.getpid() for p in running),
    )


def ask(nvml: Any, name: str, *arguments: Any) -> Any:
    """A function's answer, or None where this GPU, its driver or the binding does not know it."""
    function = getattr(nvml, name, None)
    try:
        return None if function is None else function(*arguments)
    except nvml.NVMLError:
        return None
