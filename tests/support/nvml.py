"""A stand-in for the module ``pynvml``, through whose answers NVML is tested."""

import inspect
import os
from types import SimpleNamespace

import pynvml

FIRST, SECOND = "handle 0", "handle 1"


class FakeNvml:
    """Answers for two GPUs; only the second one ever gets into trouble.

    It has the constants and the errors of the real binding, and of its functions those that
    have an answer here, with the real parameters. Anything else is an AttributeError.

    Args:
        driver_loaded: Whether `nvmlInit` succeeds.
        unsupported: Functions that the driver or the GPU answers with an error.
        missing: Functions that this release of the binding does not have.
    """

    def __init__(self, *, driver_loaded=True, unsupported=(), missing=()):
        self.driver_loaded = driver_loaded
        self.unsupported = set(unsupported)
        self.opened = 0
        self.event_sets = []
        self.microseconds = 1_000_000
        self.slowed = {}
        self.ecc_errors = 3
        self.corrected_errors = 40
        self.remapped_rows = (1, 0, 0, 0)  # corrected, uncorrected, pending, failed
        self.retirement_pending = 0
        self.lanes = 16
        self.generation = 4
        self.processes = [SimpleNamespace(pid=os.getpid())]
        self.millijoules = 5_000
        self.reasons = pynvml.nvmlClocksEventReasonGpuIdle
        self.answers = {
            "nvmlInit": self._init,
            "nvmlShutdown": self._shutdown,
            "nvmlDeviceGetCount": lambda: 2,
            "nvmlDeviceGetHandleByIndex": lambda index: (FIRST, SECOND)[index],
            "nvmlDeviceGetName": lambda gpu: "NVIDIA H200" if gpu == FIRST else "NVIDIA L4",
            "nvmlDeviceGetUUID": lambda gpu: "GPU-aaaa" if gpu == FIRST else "GPU-bbbb",
            "nvmlDeviceGetMemoryInfo": lambda gpu: SimpleNamespace(total=150_754_820_096),
            "nvmlDeviceGetCudaComputeCapability": lambda gpu: (9, 0) if gpu == FIRST else (8, 9),
            "nvmlDeviceGetEnforcedPowerLimit": lambda gpu: 700_000,
            "nvmlDeviceGetVbiosVersion": lambda gpu: "96.00.A0.00.01",
            "nvmlDeviceGetMigMode": lambda gpu: [0, 0],
            "nvmlSystemGetDriverVersion": lambda: "580.159.04",
            "nvmlDeviceGetViolationStatus": self._violation,
            "nvmlDeviceGetCurrentClocksEventReasons": self._reasons,
            "nvmlDeviceGetCurrentClocksThrottleReasons": self._reasons,
            "nvmlDeviceGetTotalEccErrors": self._ecc,
            "nvmlDeviceGetRemappedRows": self._remapped,
            "nvmlDeviceGetRetiredPagesPendingStatus": self._retirement,
            "nvmlDeviceGetCurrPcieLinkWidth": lambda gpu: self.lanes if gpu == SECOND else 16,
            "nvmlDeviceGetMaxPcieLinkWidth": lambda gpu: 16,
            "nvmlDeviceGetCurrPcieLinkGeneration": lambda gpu: self.generation,
            "nvmlDeviceGetMaxPcieLinkGeneration": lambda gpu: 4,
            "nvmlDeviceGetComputeRunningProcesses": self._processes,
            "nvmlDeviceGetTemperature": self._temperature,
            "nvmlDeviceGetTemperatureV": self._temperature,
            "nvmlDeviceGetClockInfo": self._clock,
            "nvmlDeviceGetPowerUsage": lambda gpu: 71_500,
            "nvmlDeviceGetTotalEnergyConsumption": self._energy,
            "nvmlEventSetCreate": self._create_set,
            "nvmlEventSetFree": lambda events: self.event_sets.remove(events),
            "nvmlDeviceRegisterEvents": self._register,
            "nvmlEventSetWait": self._wait,
        }
        for name in missing:
            del self.answers[name]

    def __getattr__(self, name):
        if name in self.answers:
            return lambda *arguments: self._call(name, arguments)
        value = getattr(pynvml, name)
        if inspect.isroutine(value):
            raise AttributeError(f"no answer for {name}")
        return value

    def _call(self, name, arguments):
        if hasattr(pynvml, name):  # This release of it may lack one of `ALTERNATIVES`.
            inspect.signature(getattr(pynvml, name)).bind(*arguments)
        if name in self.unsupported:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        if self.opened == 0 and name != "nvmlInit":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)
        return self.answers[name](*arguments)

    def _init(self):
        if not self.driver_loaded:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
        self.opened += 1

    def _shutdown(self):
        self.opened -= 1

    def _violation(self, gpu, policy):
        nanoseconds = self.slowed.get(policy, 0) if gpu == SECOND else 0
        return pynvml.c_nvmlViolationTime_t(self.microseconds, nanoseconds)

    def _reasons(self, gpu):
        return self.reasons if gpu == SECOND else 0

    def _ecc(self, gpu, kind, counter):
        assert counter == pynvml.NVML_VOLATILE_ECC
        counts = {
            pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED: self.ecc_errors,
            pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED: self.corrected_errors,
        }
        return counts[kind] if gpu == SECOND else 0

    def _remapped(self, gpu):
        return self.remapped_rows if gpu == SECOND else (0, 0, 0, 0)

    def _retirement(self, gpu):
        return self.retirement_pending if gpu == SECOND else 0

    def _processes(self, gpu):
        return self.processes if gpu == SECOND else []

    def _temperature(self, gpu, sensor):
        assert sensor == pynvml.NVML_TEMPERATURE_GPU
        return 41 if gpu == SECOND else 33

    def _clock(self, gpu, clock):
        assert clock == pynvml.NVML_CLOCK_SM
        return 1980

    def _energy(self, gpu):
        return self.millijoules if gpu == SECOND else 0

    def _create_set(self):
        self.event_sets.append(SimpleNamespace(gpu=None, kinds=0, waiting=[]))
        return self.event_sets[-1]

    def _register(self, gpu, kinds, events):
        events.gpu, events.kinds = gpu, kinds

    def _wait(self, events, milliseconds):
        assert milliseconds == 0, "a round must not wait for events"
        if not events.waiting:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_TIMEOUT)
        return events.waiting.pop(0)

    def report_xid(self, number):
        """The driver reports an error of the second GPU to all who have asked for it."""
        kind = pynvml.nvmlEventTypeXidCriticalError
        for events in self.event_sets:
            if events.gpu == SECOND and events.kinds & kind:
                events.waiting.append(pynvml.c_nvmlEventData_t(eventType=kind, eventData=number))

    def pass_time(self, seconds, **slowed_seconds):
        """Lets time pass; the second GPU is slowed down for a part of it, by policy."""
        self.microseconds += round(seconds * 1e6)
        for name, slow in slowed_seconds.items():
            policy = getattr(pynvml, f"NVML_PERF_POLICY_{name.upper()}")
            self.slowed[policy] = self.slowed.get(policy, 0) + round(slow * 1e9)


# Of these one is enough: a release of the binding may lack the new name or the old one.
ALTERNATIVES = {
    "nvmlDeviceGetCurrentClocksEventReasons": "nvmlDeviceGetCurrentClocksThrottleReasons",
    "nvmlDeviceGetTemperatureV": "nvmlDeviceGetTemperature",
}
