"""Watching a GPU during a measurement through NVIDIA's management library (NVML)."""

import contextlib
from typing import Any, NamedTuple

import pynvml

from cnnprec.machine.energy import GPU, Counters
from cnnprec.machine.gpu import ask, visible_gpus
from cnnprec.machine.gpu_state import GpuState

# The policies that keep a GPU below the clocks it could run at, and what each is called. Not low
# utilization, which slows no work down, nor sync boost, which ties several GPUs together.
_POLICIES = {
    "thermal": "NVML_PERF_POLICY_THERMAL",
    "power": "NVML_PERF_POLICY_POWER",
    "board limit": "NVML_PERF_POLICY_BOARD_LIMIT",
    "reliability": "NVML_PERF_POLICY_RELIABILITY",
}

# A GPU that stood still for 1 % of a round made it 1 % longer; rounds differ by as much anyway.
# Not 0, because a healthy GPU raises its clocks until a limit is touched for a moment.
_THROTTLED_SHARE = 0.01

# Not idle, clocks that someone set, nor the power cap, which the policy "power" tells.
_SLOWDOWNS = (
    ("thermal", "nvmlClocksEventReasonSwThermalSlowdown"),
    ("thermal", "nvmlClocksEventReasonHwThermalSlowdown"),
    ("power brake", "nvmlClocksEventReasonHwPowerBrakeSlowdown"),
    ("hardware slowdown", "nvmlClocksEventReasonHwSlowdown"),
)

_REPAIRS = ("row remapping failed", "row remapping pending", "page retirement pending")
_MOST_EVENTS = 100  # a driver that never says "no more events" must not hold up the session
_TELLS_NOTHING = GpuState((), None, (), None, None, None)


class _Start(NamedTuple):
    """What `GpuWatch.start` found; the readings are cumulative."""

    handle: Any
    events: Any
    policies: dict[str, tuple[int, int]]
    ecc_errors: list[int | None]


class GpuWatch:
    """Watches one GPU, by its index in `query_gpus`, during one round after another.

    NVML is asked only where the caller asks, so that a round is not disturbed, and no answer makes
    the watch fail. It stays open from `start` to `stop`, which may be called again: in a
    ``finally``.
    """

    def __init__(self, index: int, nvml: Any = None) -> None:
        self._index = index
        self._nvml = nvml or pynvml
        self._start: _Start | None = None
        self._generation = 0
        self._open = contextlib.ExitStack()

    def start(self) -> None:
        """Begins a round: errors and slowdowns count from here. An unfinished one is dropped."""
        self._start, self._generation = None, 0
        self._open.close()
        nvml = self._nvml
        with contextlib.ExitStack() as opened:
            try:
                nvml.nvmlInit()
                opened.callback(ask, nvml, "nvmlShutdown")
                handle = visible_gpus(nvml)[self._index]
            except (nvml.NVMLError, IndexError):
                return
            events, policies = _listen(nvml, handle, opened), _policy_times(nvml, handle)
            self._start = _Start(handle, events, policies, _ecc_errors(nvml, handle))
            self._open = opened.pop_all()

    def sm_clock_mhz(self) -> int | None:
        """The clock of the multiprocessors now; None without a `start`, or if it is not told.

        To be asked after work: the generation of the PCIe link, noted too, falls when it is idle.
        """
        if self._start is None:
            return None
        generation = ask(self._nvml, "nvmlDeviceGetCurrPcieLinkGeneration", self._start.handle)
        self._generation = max(self._generation, generation or 0)
        clock: int | None = _sm_clock(self._nvml, self._start.handle)
        return clock

    def energy(self) -> Counters:
        """The counter of the GPU's board; empty without a `start`, or if it is not told."""
        if self._start is None:
            return {}
        used = ask(self._nvml, "nvmlDeviceGetTotalEnergyConsumption", self._start.handle)
        return {} if used is None else {GPU: (used / 1000, 0.0)}

    def stop(self) -> GpuState | None:
        """What the GPU went through since `start`; None if NVML tells nothing of it."""
        start, self._start = self._start, None
        if start is None:
            return None
        nvml, handle = self._nvml, start.handle
        with self._open:
            # First of all, since the GPU has begun to idle.
            slowdowns = _slowdowns(nvml, handle)
            milliwatts = ask(nvml, "nvmlDeviceGetPowerUsage", handle)
            policies = _policies(start.policies, _policy_times(nvml, handle))
            uncorrected, corrected = map(_growth, start.ecc_errors, _ecc_errors(nvml, handle))
            remapped, repairs = _repairs(nvml, handle)
            lanes = ask(nvml, "nvmlDeviceGetCurrPcieLinkWidth", handle)
            most_lanes = ask(nvml, "nvmlDeviceGetMaxPcieLinkWidth", handle)
            latest = ask(nvml, "nvmlDeviceGetMaxPcieLinkGeneration", handle)
            processes = ask(nvml, "nvmlDeviceGetComputeRunningProcesses", handle)
            sensor = handle, nvml.NVML_TEMPERATURE_GPU
            state = GpuState(
                throttled=tuple(dict.fromkeys([*policies, *slowdowns])),
                new_ecc_errors=uncorrected,
                xid_errors=_xid_errors(nvml, start.events),
                # CUDA 14 drops the first.
                temperature_celsius=ask(nvml, "nvmlDeviceGetTemperature", *sensor)
                or ask(nvml, "nvmlDeviceGetTemperatureV", *sensor),
                sm_clock_mhz=_sm_clock(nvml, handle),
                power_watts=None if milliwatts is None else milliwatts / 1000,
                new_corrected_errors=corrected,
                repairs=repairs,
                remapped_rows=remapped,
                pcie_lanes=(lanes, most_lanes) if lanes and most_lanes else None,
                pcie_generation=(self._generation, latest) if self._generation and latest else None,
                # This one is among them; in a container under another number, so any may be it.
                other_processes=len(processes) - 1 if processes else None,
            )
        return None if state == _TELLS_NOTHING else state


def _sm_clock(nvml: Any, handle: Any) -> Any:
    return ask(nvml, "nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_SM)


def _slowdowns(nvml: Any, handle: Any) -> list[str]:
    """Names of those of `_SLOWDOWNS` that hold now."""
    reasons = ask(nvml, "nvmlDeviceGetCurrentClocksEventReasons", handle)
    if reasons is None:  # The binding or the driver may have only the older name.
        reasons = ask(nvml, "nvmlDeviceGetCurrentClocksThrottleReasons", handle) or 0
    return [name for name, bit in _SLOWDOWNS if reasons & getattr(nvml, bit)]


def _policy_times(nvml: Any, handle: Any) -> dict[str, tuple[int, int]]:
    """By policy: the driver's time, and the time slowed down, both in ns from any origin."""
    times = {}
    for name, policy in _POLICIES.items():
        status = ask(nvml, "nvmlDeviceGetViolationStatus", handle, getattr(nvml, policy))
        if status is not None:
            # The driver gives its time in us, and the time of the violation in ns.
            times[name] = (int(status.referenceTime) * 1000, int(status.violationTime))
    return times


def _policies(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> list[str]:
    """The policies that slowed the GPU down for more than `_THROTTLED_SHARE` of the time."""
    found = []
    for name, (begin, slowed_before) in before.items():
        end, slowed = after.get(name, (begin, slowed_before))
        # A time that stands still would make any share of it too large.
        if end > begin and slowed - slowed_before > _THROTTLED_SHARE * (end - begin):
            found.append(name)
    return found


def _ecc_errors(nvml: Any, handle: Any) -> list[Any]:
    """Errors of the memory since the driver was loaded: uncorrected, corrected."""
    kinds = (nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED)
    since = nvml.NVML_VOLATILE_ECC
    return [ask(nvml, "nvmlDeviceGetTotalEccErrors", handle, kind, since) for kind in kinds]


def _repairs(nvml: Any, handle: Any) -> tuple[int | None, tuple[str, ...]]:
    """How many rows of the memory are remapped, and what is still to be repaired."""
    rows = ask(nvml, "nvmlDeviceGetRemappedRows", handle)
    *_, pending, failed = rows or (0, 0)
    pages = ask(nvml, "nvmlDeviceGetRetiredPagesPendingStatus", handle)
    due = zip(_REPAIRS, (failed, pending, pages), strict=True)
    return rows and rows[0] + rows[1], tuple(name for name, value in due if value)


def _growth(before: int | None, after: int | None) -> int | None:
    # A counter that fell was reset by a reload of the driver: what it missed is not known.
    if before is None or after is None or after < before:
        return None
    return after - before


def _listen(nvml: Any, handle: Any, opened: contextlib.ExitStack) -> Any:
    """A set of events that gathers the GPU's Xid errors from now on; None if it cannot be."""
    events = ask(nvml, "nvmlEventSetCreate")
    if events is not None:
        opened.callback(ask, nvml, "nvmlEventSetFree", events)
        ask(nvml, "nvmlDeviceRegisterEvents", handle, nvml.nvmlEventTypeXidCriticalError, events)
    return events


def _xid_errors(nvml: Any, events: Any) -> tuple[int, ...]:
    """Each number once: for errors in quick succession NVML gives the last one's number."""
    found = []
    for _ in range(_MOST_EVENTS if events is not None else 0):
        event = ask(nvml, "nvmlEventSetWait", events, 0)
        if event is None:  # Normally NVML's timeout: there are no more.
            break
        if event.eventType & nvml.nvmlEventTypeXidCriticalError:
            found.append(int(event.eventData))
    return tuple(dict.fromkeys(found))
