"""What NVIDIA's driver says of the GPUs, without TensorFlow.

A machine without driver or GPU is a normal case here: the answer is then empty.
"""

from __future__ import annotations

import contextlib
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
    cuda: str | None
    vbios: str | None
    power_limit_watts: float | None
    mig_mode: str | None


@dataclasses.dataclass(frozen=True)
class GpuState:
    """What a GPU went through during one round.

    Attributes:
        throttled: Names of the reasons for which the GPU was slowed down, such as
            ``"thermal"``; empty if it was not.
        new_ecc_errors: Uncorrected memory errors that were counted during the round; None
            where the GPU does not count them.
        xid_errors: Numbers of the Xid errors that the driver reported during the round.
        temperature_celsius: At the end of the round; None where it is not reported.
        sm_clock_mhz: Clock of the multiprocessors at the end of the round, likewise.
        power_watts: Power drawn at the end of the round, likewise.
    """

    throttled: tuple[str, ...]
    new_ecc_errors: int | None
    xid_errors: tuple[int, ...]
    temperature_celsius: int | None
    sm_clock_mhz: int | None
    power_watts: float | None

    @property
    def faulty(self) -> bool:
        """Whether the hardware reported an error; results of the round cannot be trusted."""
        return bool(self.new_ecc_errors or self.xid_errors)


def query_gpus(nvml: Any = None) -> tuple[Gpu, ...]:
    """Returns the GPUs that CUDA programs of this process may use, in CUDA's order.

    ``CUDA_VISIBLE_DEVICES`` is obeyed where it holds indices or UUIDs. NVML counts in the
    order of the PCI bus; CUDA does so only under ``CUDA_DEVICE_ORDER=PCI_BUS_ID``. The two
    can differ on a machine with GPUs of different models.

    Args:
        nvml: In place of the module ``pynvml``, for tests.
    """
    if nvml is None:
        nvml = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return ()
    try:
        return tuple(_describe(nvml, handle) for handle in _visible(nvml))
    finally:
        nvml.nvmlShutdown()


# The policies that keep a GPU below the clocks it could run at, and what each is called.
# Not here: low utilization, which slows nothing down that has work to do, and sync boost,
# which ties several GPUs together while one is trained on.
_POLICIES = (
    ("thermal", "NVML_PERF_POLICY_THERMAL"),
    ("power", "NVML_PERF_POLICY_POWER"),
    ("board limit", "NVML_PERF_POLICY_BOARD_LIMIT"),
    ("reliability", "NVML_PERF_POLICY_RELIABILITY"),
)

# A GPU that stood still for 1 % of a round made it 1 % longer, and one that only ran slower
# made it longer by less. Rounds differ by about as much anyway. Not 0, because a healthy GPU
# reaches for its limits: it raises its clocks until one of them is touched for a moment.
_THROTTLED_SHARE = 0.01

# Not here: idle, clocks that someone set, and the software's power cap, which the policy
# "power" tells for the whole round.
_SLOWDOWNS = (
    ("thermal", "nvmlClocksEventReasonSwThermalSlowdown"),
    ("thermal", "nvmlClocksEventReasonHwThermalSlowdown"),
    ("power brake", "nvmlClocksEventReasonHwPowerBrakeSlowdown"),
    ("hardware slowdown", "nvmlClocksEventReasonHwSlowdown"),
)

# Functions of one meaning. The binding or the driver may have only one of them.
_CLOCK_REASONS = (
    "nvmlDeviceGetCurrentClocksEventReasons",
    "nvmlDeviceGetCurrentClocksThrottleReasons",  # the older name
)
_TEMPERATURE = (
    "nvmlDeviceGetTemperature",
    "nvmlDeviceGetTemperatureV",  # the newer name; CUDA 14 drops the other
)

# Keeps a driver that never says "no more events" from holding up the session.
_MOST_EVENTS = 100

_TELLS_NOTHING = GpuState((), None, (), None, None, None)


@dataclasses.dataclass(frozen=True)
class _Start:
    """What `GpuWatch.start` found; the readings are cumulative."""

    handle: Any
    events: Any
    policies: dict[str, tuple[int, int]]
    ecc_errors: int | None


class GpuWatch:
    """Watches one GPU during one round after another.

    NVML is asked in `start` and in `stop` and never in between, so that a round is not
    disturbed. What the GPU or the driver does not tell is left out of the state; no answer of
    NVML makes the watch fail.

    NVML stays open from `start` to `stop`. `stop` may be called again, so put one into a
    ``finally``.
    """

    def __init__(self, index: int, nvml: Any = None) -> None:
        """Chooses the GPU; NVML is not asked yet.

        Args:
            index: Position of the GPU in `query_gpus`.
            nvml: In place of the module ``pynvml``, for tests.

        Raises:
            ValueError: The index is negative.
        """
        if index < 0:
            raise ValueError(f"GPU index {index} is negative; count from 0 as query_gpus() does")
        self._index = index
        self._nvml = pynvml if nvml is None else nvml
        self._start: _Start | None = None
        self._open = contextlib.ExitStack()

    def start(self) -> None:
        """Begins a round: errors and slowdowns count from here. An unfinished one is dropped."""
        self._start = None
        self._open.close()
        nvml = self._nvml
        with contextlib.ExitStack() as opened:
            try:
                nvml.nvmlInit()
                opened.callback(_ask, nvml, nvml.nvmlShutdown)
                handle = _visible(nvml)[self._index]
            except (nvml.NVMLError, IndexError):
                return
            self._start = _Start(
                handle=handle,
                events=_listen(nvml, handle, opened),
                policies=_policy_times(nvml, handle),
                ecc_errors=_ecc_errors(nvml, handle),
            )
            self._open = opened.pop_all()

    def stop(self) -> GpuState | None:
        """Ends the round.

        Returns:
            What the GPU went through since `start`; None if NVML does not know this GPU or
            tells nothing of it, and without a `start`.
        """
        start, self._start = self._start, None
        if start is None:
            return None
        nvml, handle = self._nvml, start.handle
        try:
            # First of all, since the GPU has begun to idle.
            slowdowns = _slowdowns(nvml, handle)
            milliwatts = _ask(nvml, nvml.nvmlDeviceGetPowerUsage, handle)
            throttled = (*_policies(start.policies, _policy_times(nvml, handle)), *slowdowns)
            state = GpuState(
                throttled=tuple(dict.fromkeys(throttled)),
                new_ecc_errors=_growth(start.ecc_errors, _ecc_errors(nvml, handle)),
                xid_errors=_xid_errors(nvml, start.events),
                temperature_celsius=_ask_any(nvml, _TEMPERATURE, handle, nvml.NVML_TEMPERATURE_GPU),
                sm_clock_mhz=_ask(nvml, nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
                power_watts=None if milliwatts is None else milliwatts / 1000,
            )
        finally:
            self._open.close()
        return None if state == _TELLS_NOTHING else state


def _policy_times(nvml: Any, handle: Any) -> dict[str, tuple[int, int]]:
    """By policy: the driver's time, and the time slowed down, both in ns from any origin."""
    times = {}
    for name, policy in _POLICIES:
        status = _ask(nvml, nvml.nvmlDeviceGetViolationStatus, handle, getattr(nvml, policy))
        if status is not None:
            # The driver gives its time in us, and the time of the violation in ns.
            times[name] = (int(status.referenceTime) * 1000, int(status.violationTime))
    return times


def _policies(
    before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]
) -> tuple[str, ...]:
    """The policies that slowed the GPU down for more than `_THROTTLED_SHARE` of the time."""
    found = []
    for name, (begin, slowed_before) in before.items():
        end, slowed = after.get(name, (begin, slowed_before))
        # A time that stands still would make any share of it too large.
        if end > begin and slowed - slowed_before > _THROTTLED_SHARE * (end - begin):
            found.append(name)
    return tuple(found)


def _slowdowns(nvml: Any, handle: Any) -> tuple[str, ...]:
    reasons = _ask_any(nvml, _CLOCK_REASONS, handle) or 0
    return tuple(name for name, bit in _SLOWDOWNS if reasons & getattr(nvml, bit))


def _ecc_errors(nvml: Any, handle: Any) -> int | None:
    count: int | None = _ask(
        nvml,
        nvml.nvmlDeviceGetTotalEccErrors,
        handle,
        nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
        nvml.NVML_VOLATILE_ECC,
    )
    return count


def _growth(before: int | None, after: int | None) -> int | None:
    # A counter that fell was reset by a reload of the driver: what it missed is not known.
    if before is None or after is None or after < before:
        return None
    return after - before


def _listen(nvml: Any, handle: Any, opened: contextlib.ExitStack) -> Any:
    """A set of events that gathers the GPU's Xid errors from now on; None if it cannot be."""
    try:
        events = nvml.nvmlEventSetCreate()
        opened.callback(_ask, nvml, nvml.nvmlEventSetFree, events)
        nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, events)
    except nvml.NVMLError:
        return None
    return events


def _xid_errors(nvml: Any, events: Any) -> tuple[int, ...]:
    """Each number once: for errors in quick succession NVML gives the last one's number."""
    found = []
    for _ in range(_MOST_EVENTS if events is not None else 0):
        event = _ask(nvml, nvml.nvmlEventSetWait, events, 0)
        if event is None:  # Normally NVML's timeout: there are no more.
            break
        if event.eventType & nvml.nvmlEventTypeXidCriticalError:
            found.append(int(event.eventData))
    return tuple(dict.fromkeys(found))


def _visible(nvml: Any) -> list[Any]:
    """Handles of the GPUs that CUDA programs of this process may use, in CUDA's order."""
    count = _ask(nvml, nvml.nvmlDeviceGetCount) or 0
    # A GPU that fell off the bus has no handle any more, and CUDA cannot use it either.
    answers = [_ask(nvml, nvml.nvmlDeviceGetHandleByIndex, index) for index in range(count)]
    handles = [handle for handle in answers if handle is not None]
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return handles
    uuids = [_text(_ask(nvml, nvml.nvmlDeviceGetUUID, handle)) or "" for handle in handles]
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
    memory = _ask(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    capability = _ask(nvml, nvml.nvmlDeviceGetCudaComputeCapability, handle)
    cuda = _ask(nvml, nvml.nvmlSystemGetCudaDriverVersion)
    milliwatts = _ask(nvml, nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
    mig = _ask(nvml, nvml.nvmlDeviceGetMigMode, handle)
    return Gpu(
        model=_text(_ask(nvml, nvml.nvmlDeviceGetName, handle)) or "unknown GPU",
        memory_bytes=None if memory is None else int(memory.total),
        compute_capability=None if capability is None else (capability[0], capability[1]),
        driver=_text(_ask(nvml, nvml.nvmlSystemGetDriverVersion)),
        # NVML gives 12050 for 12.5.
        cuda=None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
        vbios=_text(_ask(nvml, nvml.nvmlDeviceGetVbiosVersion, handle)),
        power_limit_watts=None if milliwatts is None else milliwatts / 1000,
        mig_mode=None if mig is None else ("on" if mig[0] else "off"),
    )


def _ask(nvml: Any, function: Any, *arguments: Any) -> Any:
    """The function's answer, or None where this GPU or driver does not know it."""
    try:
        return function(*arguments)
    except nvml.NVMLError:
        return None


def _ask_any(nvml: Any, names: tuple[str, ...], *arguments: Any) -> Any:
    """The answer of the first of these functions that exists and has one, or None."""
    for name in names:
        function = getattr(nvml, name, None)
        answer = None if function is None else _ask(nvml, function, *arguments)
        if answer is not None:
            return answer
    return None


def _text(value: str | bytes | None) -> str | None:
    # Releases of the binding before 11.5 gave bytes.
    return value.decode() if isinstance(value, bytes) else value
