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


# What tells processors of one name apart: x86 has the first two, Arm the others.
_CPU_NUMBERS = {
    "cpu family": "family",
    "model": "model",
    "CPU implementer": "implementer",
    "CPU part": "part",
}

# Sets of instructions by which TensorFlow, oneDNN, XLA and NumPy choose their kernels, by the
# names that Linux has for them: x86 first, then Arm.
_CPU_FEATURES = (
    *("sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx_ne_convert"),
    *("avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16", "amx_fp16"),
    *("asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve", "sve2", "svebf16"),
)


def _cpu_info() -> dict[str, str]:
    """What Linux says of the first processor; empty on other systems."""
    try:
        first = Path("/proc/cpuinfo").read_text().strip().split("\n\n")[0]
    except OSError:
        return {}
    rows = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in rows}


def cpu_model() -> str:
    """The processor's name with the numbers of its design.

    Virtual machines often give the same name to processors that differ, so the name alone
    tells little.

    Returns:
        Such as ``"AMD EPYC family 26 model 2"``.
    """
    info = _cpu_info()
    name = info.get("model name") or platform.processor() or platform.machine()
    return " ".join(
        [name, *(f"{word} {info[key]}" for key, word in _CPU_NUMBERS.items() if key in info)]
    )


def cpu_features() -> tuple[str, ...] | None:
    """Sets of instructions that decide which kernels run, such as ``("avx2", "avx512f")``.

    A hypervisor may hide some of what the processor has. None where the system does not tell.
    """
    info = _cpu_info()
    flags = info.get("flags", info.get("Features"))
    if flags is None:
        return None
    present = set(flags.split())
    return tuple(name for name in _CPU_FEATURES if name in present)


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
        Such as ``"cpu-AMD-EPYC-family-26-model-2-x2"`` or ``"gpu-NVIDIA-H200-x1"``. A GPU
        that was asked for and is not there is answered with the CPU's name; choosing the device
        reports it.
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
        for path in sorted(folder.rglob("*.py")):
            name = path.relative_to(folder.parent).as_posix()
            digest.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
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
