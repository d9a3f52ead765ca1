import pytest

from cnnprec import machine
from cnnprec.nvml import Gpu

H200 = Gpu("NVIDIA H200 (SXM)", *[None] * 7)


@pytest.mark.parametrize("name", ["auto", "cpu", "gpu", "gpu:0", "gpu:12"])
def test_device_names_are_accepted(name):
    assert machine.check_device_name(name) == name


@pytest.mark.parametrize("name", ["", "GPU", "gpu:", "gpu:-1", "cuda", "cpu:0", "gpu:0 "])
def test_other_device_names_are_refused_with_the_accepted_ones(name):
    with pytest.raises(machine.DeviceError, match="choose auto, cpu, gpu or gpu:N"):
        machine.check_device_name(name)


def test_machine_id_names_the_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(machine, "query_gpus", lambda: (H200,))
    assert machine.machine_id("auto") == "gpu-NVIDIA-H200-SXM-x1"
    assert machine.machine_id("gpu:0") == "gpu-NVIDIA-H200-SXM-x1"


@pytest.mark.parametrize("device", ["cpu", "gpu:5"])
def test_machine_id_names_the_cpu_otherwise(monkeypatch, device):
    monkeypatch.setattr(machine, "query_gpus", lambda: (H200,))
    monkeypatch.setattr(machine, "cpu_model", lambda: "AMD EPYC(tm) 7763")
    monkeypatch.setattr(machine, "usable_cores", lambda: 2)
    assert machine.machine_id(device) == "cpu-AMD-EPYC-tm-7763-x2"


def test_this_machine_has_a_cpu_with_a_name_and_cores():
    assert machine.cpu_model()
    assert machine.usable_cores() >= 1
