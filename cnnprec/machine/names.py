"""Names of devices and of machines."""

import re
from collections.abc import Iterable

from cnnprec.machine.cpu import cpu_model, usable_cores
from cnnprec.machine.gpu import query_gpus


class DeviceError(ValueError):
    """The device that was asked for cannot be had; the message names those that can."""


class WorkerLostError(RuntimeError):
    """Another worker that shares the batches cannot be reached any more."""


def check_device_name(name: str, more: Iterable[str] = ()) -> str:
    """Returns `name` if it is a device name or one of `more`; a DeviceError says what is."""
    known = ("auto", "cpu", "gpu", *more)
    if name not in known and not re.fullmatch(r"gpu:\d+", name):
        raise DeviceError(
            f"unknown device {name!r}: choose {', '.join(known)} or gpu:N (such as gpu:0)"
        )
    return name


def gpu_index(device: str) -> int:
    """The number in ``gpu:N``; 0 for the other names of a device."""
    return int(device.partition(":")[2] or 0)


def machine_id(device: str) -> str:
    """A folder name such as ``"gpu-NVIDIA-H200-x1"``; the CPU stands for a missing GPU."""
    gpus = () if device == "cpu" else query_gpus()
    index = gpu_index(device)
    kind, model, count = "cpu", cpu_model(), usable_cores()
    if index < len(gpus):
        kind, model, count = "gpu", gpus[index].model, 1
    slug = re.sub(r"[^A-Za-z0-9]+", "-", model).strip("-")
    return f"{kind}-{slug}-x{count}"
