"""What NVML answered on a real GPU, read by the code that asked for it.

Recorded on an NVIDIA H100 with driver 580.159.04 and nvidia-ml-py 13.615 in the order of the calls:
`query_gpus` on the idle GPU, then a `GpuWatch` of two seconds of products in bfloat16, which the
limit of the board's power slowed down.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import pynvml

from cnnprec.machine.gpu import query_gpus
from cnnprec.machine.gpu_state import GpuState
from cnnprec.machine.gpu_watch import GpuWatch


class RecordedNvml:
    """Answers once more what was recorded; another order of the calls is an AssertionError."""

    NVMLError = pynvml.NVMLError

    def __init__(self):
        self.rows = json.loads(Path(__file__).with_name("nvml_h100.json").read_text())

    def __getattr__(self, name):
        real = getattr(pynvml, name)
        if not name.startswith("nvml") or not callable(real):
            return real

        def answer(*arguments):
            called, given = self.rows.pop(0)
            assert called == name
            if isinstance(given, dict) and "error" in given:
                raise pynvml.NVMLError(given["error"])
            return SimpleNamespace(**given) if isinstance(given, dict) else given

        return answer


def test_the_answers_of_a_real_gpu_are_read(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvml = RecordedNvml()
    (gpu,) = query_gpus(nvml)
    assert (gpu.model, gpu.driver) == ("NVIDIA H100 80GB HBM3", "580.159.04")
    assert (gpu.memory_bytes, gpu.compute_capability) == (85_520_809_984, (9, 0))
    assert (gpu.power_limit_watts, gpu.mig_mode, gpu.other_processes) == (700.0, "off", 0)
    watch = GpuWatch(0, nvml)
    watch.start()
    assert watch.energy() == {"gpu": (8_413.888, 0.0)}
    assert watch.sm_clock_mhz() == 1680
    assert watch.energy() == {"gpu": (9_334.057, 0.0)}
    assert watch.stop() == GpuState(
        throttled=("power",),
        new_ecc_errors=0,
        xid_errors=(),
        temperature_celsius=51,
        sm_clock_mhz=1680,
        power_watts=459.155,
        new_corrected_errors=0,
        repairs=(),
        remapped_rows=0,
        pcie_lanes=(16, 16),
        pcie_generation=(5, 5),
        other_processes=0,
    )
    assert nvml.rows == []
