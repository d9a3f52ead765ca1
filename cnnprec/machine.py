"""Which machine this is, told without TensorFlow."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from cnnprec.nvml import query_gpus


class DeviceError(ValueError):
    """The device that was asked for cannot be had; the message names those that can."""


def check_device_name(name: str) -> str:
    """Returns `name` if it is a device name: ``auto``, ``cpu``, ``gpu`` or ``gpu:N``.

    Raises:
        DeviceError: It is none.
    """
    if not re.fullmatch(r"auto|cpu|gpu(:\d+)?", name):
        raise DeviceError(
            f"unknown device {name!r}: choose auto, cpu, gpu or gpu:N (such as gpu:0)"
        )
    return name


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine_id(device: str) -> str:
    """A folder name for results that may be compared: the device's model and count.

    Args:
        device: ``auto``, ``cpu``, ``gpu`` or ``gpu:N``.

    Returns:
        Such as ``"cpu-AMD-EPYC-x2"`` or ``"gpu-NVIDIA-H200-x1"``. A GPU that was asked for
        and is not there is answered with the CPU's name; choosing the device reports it.
    """
    gpus = () if device == "cpu" else query_gpus()
    index = int(device.partition(":")[2] or 0)
    if index < len(gpus):
        kind, model, count = "gpu", gpus[index].model, 1
    else:
        kind, model, count = "cpu", cpu_model(), usable_cores()
    slug = re.sub(r"[^A-Za-z0-9]+", "-", model).strip("-")
    return f"{kind}-{slug}-x{count}"
