"""NVML is tested through answers given by a stand-in for the module ``pynvml``."""

from types import SimpleNamespace

import pytest

from cnnprec.nvml import Gpu, query_gpus


class FakeNvml:
    """Answers for two GPUs; any answer can be replaced by NVML's "not supported"."""

    class NVMLError(Exception):
        pass

    def __init__(self, *, driver_loaded=True, unsupported=()):
        self._driver_loaded = driver_loaded
        self.shut_down = False
        answers = {
            "nvmlDeviceGetCount": 2,
            "nvmlDeviceGetHandleByIndex": lambda index: f"handle {index}",
            "nvmlDeviceGetName": lambda handle: b"NVIDIA H200" if "0" in handle else "NVIDIA L4",
            "nvmlDeviceGetUUID": lambda handle: "GPU-aaaa" if "0" in handle else "GPU-bbbb",
            "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(total=150_754_820_096),
            "nvmlDeviceGetCudaComputeCapability": lambda handle: (
                (9, 0) if "0" in handle else (8, 9)
            ),
            "nvmlDeviceGetEnforcedPowerLimit": lambda handle: 700_000,
            "nvmlDeviceGetVbiosVersion": lambda handle: "96.00.A0.00.01",
            "nvmlDeviceGetMigMode": lambda handle: [0, 0],
            "nvmlSystemGetDriverVersion": "580.159.04",
            "nvmlSystemGetCudaDriverVersion": 13000,
        }
        for name, answer in answers.items():
            setattr(self, name, self._refuse if name in unsupported else self._give(answer))

    def nvmlInit(self):  # noqa: N802
        if not self._driver_loaded:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlShutdown(self):  # noqa: N802
        self.shut_down = True

    def _refuse(self, *_):
        raise self.NVMLError("Not Supported")

    @staticmethod
    def _give(answer):
        return answer if callable(answer) else lambda: answer


@pytest.fixture(autouse=True)
def all_visible(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_machine_without_a_driver_has_no_gpus():
    assert query_gpus(FakeNvml(driver_loaded=False)) == ()


def test_every_field_is_read_in_the_unit_of_its_name():
    assert query_gpus(FakeNvml())[0] == Gpu(
        model="NVIDIA H200",
        memory_bytes=150_754_820_096,
        compute_capability=(9, 0),
        driver="580.159.04",
        cuda="13.0",
        vbios="96.00.A0.00.01",
        power_limit_watts=700.0,
        mig_mode="off",
    )


def test_nvml_is_shut_down_again():
    nvml = FakeNvml()
    query_gpus(nvml)
    assert nvml.shut_down


@pytest.mark.parametrize(
    ("function", "field"),
    [
        ("nvmlDeviceGetMigMode", "mig_mode"),
        ("nvmlDeviceGetVbiosVersion", "vbios"),
        ("nvmlDeviceGetEnforcedPowerLimit", "power_limit_watts"),
        ("nvmlDeviceGetMemoryInfo", "memory_bytes"),
        ("nvmlDeviceGetCudaComputeCapability", "compute_capability"),
        ("nvmlSystemGetDriverVersion", "driver"),
        ("nvmlSystemGetCudaDriverVersion", "cuda"),
    ],
)
def test_what_a_gpu_does_not_report_is_none_and_the_rest_stays(function, field):
    gpu = query_gpus(FakeNvml(unsupported=[function]))[0]
    assert getattr(gpu, field) is None
    assert gpu.model == "NVIDIA H200"


@pytest.mark.parametrize(
    ("visible", "models"),
    [
        ("", []),
        ("0", ["NVIDIA H200"]),
        ("1,0", ["NVIDIA L4", "NVIDIA H200"]),
        ("GPU-bb", ["NVIDIA L4"]),
        ("0,7,1", ["NVIDIA H200"]),
        ("-1", []),
    ],
)
def test_cuda_visible_devices_chooses_and_orders(monkeypatch, visible, models):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.model for gpu in query_gpus(FakeNvml())] == models


def test_uuids_that_cannot_be_read_do_not_hide_gpus_chosen_by_index(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert len(query_gpus(FakeNvml(unsupported=["nvmlDeviceGetUUID"]))) == 1
