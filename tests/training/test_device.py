import pytest
import tensorflow as tf

from cnnprec.machine.names import DeviceError
from cnnprec.training import device

HAS_GPU = bool(tf.config.list_physical_devices("GPU"))


@pytest.mark.skipif(HAS_GPU, reason="is about machines without a GPU")
@pytest.mark.parametrize("name", ["gpu", "gpu:0", "gpu:3"])
def test_gpu_that_is_not_there_is_refused_and_never_a_silent_cpu_run(name):
    with pytest.raises(DeviceError, match=f"--device {name}: TensorFlow sees no GPU.*nvidia-smi"):
        device.select_device(name)


@pytest.mark.skipif(HAS_GPU, reason="is about machines without a GPU")
@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_machine_without_gpu_computes_on_its_cpu(name):
    assert device.select_device(name) == "cpu"
    assert not device.supports_tf32()
    assert device.peak_device_memory_bytes() is None


class FakeGpus:
    """Two GPUs as TensorFlow would list them, and what was asked of TensorFlow."""

    def __init__(self, monkeypatch, capability=(9, 0)):
        self.gpus = ["gpu A", "gpu B"]
        self.visible = list(self.gpus)
        self.growing = []
        config = tf.config
        monkeypatch.setattr(config, "list_physical_devices", lambda kind: self.gpus)
        monkeypatch.setattr(config, "get_visible_devices", lambda kind: self.visible)
        monkeypatch.setattr(config, "set_visible_devices", self._set_visible)
        monkeypatch.setattr(
            config.experimental,
            "set_memory_growth",
            lambda gpu, on: self.growing.append((gpu, on)),
        )
        monkeypatch.setattr(
            config.experimental,
            "get_device_details",
            lambda gpu: {"compute_capability": capability} if capability else {},
        )

    def _set_visible(self, gpus, kind):
        assert kind == "GPU"
        self.visible = gpus


@pytest.mark.parametrize(
    ("name", "chosen", "visible"),
    [
        ("auto", "gpu:0", ["gpu A"]),
        ("gpu", "gpu:0", ["gpu A"]),
        ("gpu:1", "gpu:1", ["gpu B"]),
        ("cpu", "cpu", []),
    ],
)
def test_device_that_is_chosen_is_the_only_one_visible(monkeypatch, name, chosen, visible):
    fake = FakeGpus(monkeypatch)
    assert device.select_device(name) == chosen
    assert fake.visible == visible
    assert fake.growing == [(gpu, True) for gpu in visible]


def test_gpu_beyond_the_last_is_refused_with_those_there_are(monkeypatch):
    FakeGpus(monkeypatch)
    with pytest.raises(DeviceError, match="TensorFlow sees gpu:0, gpu:1"):
        device.select_device("gpu:2")


def test_device_cannot_change_once_tensorflow_runs(monkeypatch):
    fake = FakeGpus(monkeypatch)

    def refuse(gpus, kind):
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", refuse)
    with pytest.raises(DeviceError, match="already running in this process"):
        device.select_device("cpu")
    assert fake.visible == ["gpu A", "gpu B"]


@pytest.mark.parametrize(
    ("capability", "supported"), [((7, 5), False), ((8, 0), True), ((9, 0), True), (None, False)]
)
def test_tf32_needs_ampere(monkeypatch, capability, supported):
    FakeGpus(monkeypatch, capability)
    assert device.supports_tf32() is supported


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_tf32_switch_is_put_back_also_after_an_error(before, inside):
    get = tf.config.experimental.tensor_float_32_execution_enabled
    start = get()
    try:
        tf.config.experimental.enable_tensor_float_32_execution(before)
        with pytest.raises(ZeroDivisionError), device.tensor_float_32(inside):
            assert get() is inside
            raise ZeroDivisionError
        assert get() is before
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(start)
