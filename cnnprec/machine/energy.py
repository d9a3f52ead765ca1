"""Energy that the processors or a GPU have used, by counters of their own."""

import contextlib
from collections.abc import Callable
from pathlib import Path

_POWERCAP = Path("/sys/class/powercap")
GPU = "gpu"  # name of a GPU's counter
_LEAST_SECONDS = 0.02  # RAPL renews its counters every 1 ms: of 20 of these, 5 % is left open
_LEAST_OF_GPU = 2.0  # NVML every 0.1 s

Counters = dict[str, tuple[float, float]]
"""Joules from any origin, by the counter, and where it goes on from 0; 0 if it does not."""


def package_energy(folder: Path = _POWERCAP) -> Counters:
    """The counters (RAPL) of whole processors, of Intel and AMD; none that cannot be read."""
    found = {}
    for zone in folder.glob("intel-rapl:*"):
        with contextlib.suppress(OSError, ValueError):
            name = (zone / "name").read_text().strip()
            files = ("energy_uj", "max_energy_range_uj")
            used, most = (int((zone / file).read_text()) / 1e6 for file in files)
            if name.startswith("package"):  # psys holds them all, core and dram are parts
                found[name] = used, most
    return found


class EnergyMeter:
    """Tells the energy used since it was made."""

    def __init__(self, read: Callable[[], Counters]) -> None:
        self._read = read
        self._before = read()

    def joules(self, seconds: float) -> float | None:
        """Energy of so many seconds; None if it is not told, or too coarsely for so few.

        A counter may wrap around once in them: at 200 W, RAPL's usually do after 20 minutes.
        """
        after, total = self._read(), 0.0
        if not after or after.keys() != self._before.keys():
            return None
        for name, (start, most) in self._before.items():
            used = after[name][0] - start
            used += most if used < 0 else 0.0
            # Below 0 the driver was loaded anew.
            if used < 0 or seconds < (_LEAST_OF_GPU if name == GPU else _LEAST_SECONDS):
                return None
            total += used
        return total
