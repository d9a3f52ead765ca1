"""Which processor this is, and how many of its cores this process may use."""

import os
import platform
from pathlib import Path

# Virtual machines give one name to processors that these tell apart: two of x86, two of Arm.
_CPU_NUMBERS = ("cpu family", "model", "CPU implementer", "CPU part")

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
    """Name and numbers of the processor's design, such as ``"AMD EPYC family 26 model 2"``."""
    info = _cpu_info()
    name = info.get("model name") or platform.processor() or platform.machine()
    numbers = (f"{key.split()[-1]} {info[key]}" for key in _CPU_NUMBERS if key in info)
    return " ".join([name, *numbers])


def cpu_features() -> tuple[str, ...] | None:
    """Those of `_CPU_FEATURES` that can be used; None where the system does not tell."""
    info = _cpu_info()
    flags = info.get("flags", info.get("Features"))
    if flags is None:
        return None
    present = set(flags.split())
    return tuple(name for name in _CPU_FEATURES if name in present)


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))
