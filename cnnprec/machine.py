"""Which machine this is, told without TensorFlow."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
from pathlib import Path

from cnnprec.nvml import query_gpus

_PACKAGE = Path(__file__).parent


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


def gpu_index(device: str) -> int:
    """The number in ``gpu:N``; 0 for the other names of a device."""
    return int(device.partition(":")[2] or 0)


def machine_id(device: str) -> str:
    """A folder name for results that may be compared: the device's model and count.

    Args:
        device: ``auto``, ``cpu``, ``gpu`` or ``gpu:N``.

    Returns:
        Such as ``"cpu-AMD-EPYC-x2"`` or ``"gpu-NVIDIA-H200-x1"``. A GPU that was asked for
        and is not there is answered with the CPU's name; choosing the device reports it.
    """
    gpus = () if device == "cpu" else query_gpus()
    index = gpu_index(device)
    if index < len(gpus):
        kind, model, count = "gpu", gpus[index].model, 1
    else:
        kind, model, count = "cpu", cpu_model(), usable_cores()
    slug = re.sub(r"[^A-Za-z0-9]+", "-", model).strip("-")
    return f"{kind}-{slug}-x{count}"


def code_digest() -> str:
    """Digest of this project's source files: the package, and the benchmarks beside it.

    Unlike a commit it exists without a repository, and a commit of documents or baselines
    does not change it.
    """
    digest = hashlib.sha256()
    for folder in (_PACKAGE, _PACKAGE.parent / "benchmarks"):
        for path in sorted(folder.glob("*.py")):
            digest.update(f"{folder.name}/{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def commit() -> str | None:
    """The commit that the package was checked out from, ``-dirty`` if a file was changed.

    None where the package does not lie in a Git repository of its own.
    """
    if not (_PACKAGE.parent / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],  # noqa: S607
            cwd=_PACKAGE,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
