"""What is read of a GPU, through the answers of a stand-in for ``pynvml``."""

from types import SimpleNamespace

import pytest

from cnnprec.machine.gpu import Gpu, query_gpus
from tests.support.nvml import FakeNvml


def test_machine_without_a_driver_has_no_gpus():
    assert query_gpus(FakeNvml(driver_loaded=False)) == ()


def test_every_field_is_read_in_the_unit_of_its_name():
    assert query_gpus(FakeNvml())[0] == Gpu(
        model="NVIDIA H200",
        memory_bytes=150_754_820_096,
        compute_capability=(9, 0),
        driver="580.159.04",
        vbios="96.00.A0.00.01",
        power_limit_watts=700.0,
        mig_mode="off",
        uuid="GPU-aaaa",
        other_processes=0,
    )


def test_programs_that_compute_on_it_are_counted_without_this_one():
    nvml = FakeNvml()
    assert [gpu.other_processes for gpu in query_gpus(nvml)] == [0, 0]
    nvml.processes += [SimpleNamespace(pid=-1), SimpleNamespace(pid=-2)]
    assert [gpu.other_processes for gpu in query_gpus(nvml)] == [0, 2]


@pytest.mark.parametrize("function", ["nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"])
def test_gpu_that_fell_off_the_bus_is_not_listed_and_no_error(function):
    nvml = FakeNvml(unsupported=[function])
    assert query_gpus(nvml) == ()
    assert nvml.opened == 0


def test_nvml_is_shut_down_again():
    nvml = FakeNvml()
    query_gpus(nvml)
    assert nvml.opened == 0


@pytest.mark.parametrize(
    ("function", "field"),
    [
        ("nvmlDeviceGetMigMode", "mig_mode"),
        ("nvmlDeviceGetUUID", "uuid"),
        ("nvmlDeviceGetVbiosVersion", "vbios"),
        ("nvmlDeviceGetEnforcedPowerLimit", "power_limit_watts"),
        ("nvmlDeviceGetMemoryInfo", "memory_bytes"),
        ("nvmlDeviceGetCudaComputeCapability", "compute_capability"),
        ("nvmlSystemGetDriverVersion", "driver"),
        ("nvmlDeviceGetComputeRunningProcesses", "other_processes"),
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
