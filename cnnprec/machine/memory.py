"""Memory of this process over a span that the caller chooses: its peak, and no collection."""

import contextlib
import gc
from collections.abc import Iterator
from pathlib import Path

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_MEMINFO = Path("/proc/meminfo")
# Of a container, in versions 2 and 1 of the kernel's control groups.
_LIMITS = tuple(Path("/sys/fs/cgroup", p) for p in ("memory.max", "memory/memory.limit_in_bytes"))


def reset_peak_resident() -> bool:
    """Lowers the kernel's high-water mark to the present use, where it can; says whether it did."""
    with contextlib.suppress(OSError):
        _CLEAR_REFS.write_text("5")  # proc(5): resets the peak resident set size (VmHWM)
        return True
    return False


def peak_resident_bytes() -> int | None:
    """Largest resident memory since `reset_peak_resident`, in bytes; None if unknown."""
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None


def available_bytes() -> int | None:
    """Memory of the machine, or of this container, that new work can have; None if unknown."""
    known = []
    for path in (_MEMINFO, *_LIMITS):
        with contextlib.suppress(OSError):
            words = path.read_text().split()
            if "MemAvailable:" in words:
                known.append(int(words[words.index("MemAvailable:") + 1]) * 1024)
            elif words[0].isdecimal():  # not "max"
                known.append(int(words[0]))
    return min(known, default=None)


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Keeps the garbage collector away; it comes back afterwards if it was there before."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
