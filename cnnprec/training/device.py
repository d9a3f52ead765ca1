"""Chooses the device that TensorFlow computes on, and how it rounds float32."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from cnnprec.machine.names import DeviceError, check_device_name, gpu_index

_TF32_CAPABILITY = (8, 0)  # of Ampere, the first with TF32 tensor cores


def select_device(name: str, *, every: bool = False) -> str:
    """Makes TensorFlow compute on one device, or on every GPU, before its first operation.

    ``auto`` is the first GPU, else the CPU. Returns ``"cpu"`` or ``"gpu:N"``; DeviceError if there
    is no such device, or if TensorFlow already uses another one.
    """
    check_device_name(name)
    gpus = tf.config.list_physical_devices("GPU")
    if name == "cpu" or (name == "auto" and not gpus):
        _make_visible([])
        return "cpu"
    index = gpu_index(name)
    if index >= len(gpus):
        known = ", ".join(f"gpu:{number}" for number in range(len(gpus))) or "no GPU"
        raise DeviceError(
            f"--device {name}: TensorFlow sees {known}. Check the driver with nvidia-smi, install "
            "the CUDA libraries with pip install 'cnnprec[cuda]', or use --device cpu."
        )
    _make_visible(gpus if every else [gpus[index]])
    return f"gpu:{index}"


def supports_tf32() -> bool:
    """Whether the device in use can round the operands of float32 products to TF32."""
    gpus = tf.config.get_visible_devices("GPU")
    if not gpus:
        return False
    capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability")
    return capability is not None and tuple(capability) >= _TF32_CAPABILITY


@contextlib.contextmanager
def tensor_float_32(allowed: bool) -> Iterator[None]:
    """Allows or forbids TF32 inside the block; puts back what was set before."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(allowed)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def wait_for_devices() -> None:
    """Returns when the GPUs of this process have done what is in their queues."""
    for index in range(len(tf.config.get_visible_devices("GPU"))):
        with tf.device(f"GPU:{index}"):  # TensorFlow's own function asks other hosts' too
            tf.raw_ops.SyncDevice()


def reset_peak_device_memory() -> None:
    """Starts a new span for `peak_device_memory_bytes`; does nothing on a CPU."""
    if tf.config.get_visible_devices("GPU"):
        tf.config.experimental.reset_memory_stats("GPU:0")


def peak_device_memory_bytes() -> int | None:
    """Largest memory allocated on the GPU in this span, in bytes; None on a CPU."""
    if not tf.config.get_visible_devices("GPU"):
        return None
    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])


def _make_visible(gpus: list[tf.config.PhysicalDevice]) -> None:
    try:
        for gpu in gpus:
            # Taking all memory at once would hide how much a precision needs.
            tf.config.experimental.set_memory_growth(gpu, True)
        if tf.config.get_visible_devices("GPU") != gpus:
            tf.config.set_visible_devices(gpus, "GPU")
    except RuntimeError as error:
        raise DeviceError(
            f"TensorFlow is already running in this process with another device: {error}"
        ) from error
