import pytest

from cnnprec.machine import names
from cnnprec.machine.gpu import Gpu

H200 = Gpu("NVIDIA H200 (SXM)", *[None] * 6)


@pytest.mark.parametrize("name", ["auto", "cpu", "gpu", "gpu:0", "gpu:12"])
def test_device_names_are_accepted(name):
    assert names.check_device_name(name) == name


@pytest.mark.parametrize("name", ["", "GPU", "gpu:", "gpu:-1", "cuda", "cpu:0", "gpu:0 "])
def test_other_device_names_are_refused_with_the_accepted_ones(name):
    with pytest.raises(names.DeviceError, match="choose auto, cpu, gpu or gpu:N"):
        names.check_device_name(name)


def test_machine_id_names_the_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(names, "query_gpus", lambda: (H200,))
    assert names.machine_id("auto") == "gpu-NVIDIA-H200-SXM-x1"
    assert names.machine_id("gpu:0") == "gpu-NVIDIA-H200-SXM-x1"


@pytest.mark.parametrize("device", ["cpu", "gpu:5"])
def test_machine_id_names_the_cpu_otherwise(monkeypatch, device):
    monkeypatch.setattr(names, "query_gpus", lambda: (H200,))
    monkeypatch.setattr(names, "cpu_model", lambda: "AMD EPYC(tm) 7763")
    monkeypatch.setattr(names, "usable_cores", lambda: 2)
    assert names.machine_id(device) == "cpu-AMD-EPYC-tm-7763-x2"


@pytest.mark.parametrize(
    ("device", "index"), [("gpu:0", 0), ("gpu:12", 12), ("gpu", 0), ("auto", 0), ("cpu", 0)]
)
def test_index_of_a_gpu_is_the_number_in_its_name(device, index):
    assert names.gpu_index(device) == index
