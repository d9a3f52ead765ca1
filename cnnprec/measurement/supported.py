"""What the device can do, told without TensorFlow: which precisions, and how large a batch."""

import os
from collections.abc import Iterable

from cnnprec.machine.gpu import query_gpus
from cnnprec.machine.memory import available_bytes
from cnnprec.machine.names import DeviceError, gpu_index
from cnnprec.precision.precisions import PRECISIONS, Precision
from cnnprec.text import count_of

LEVELS = ("off", "quick", "full")  # probes: none, those that take milliseconds, all of them
_OUTPUTS = 37_818  # numbers that the layers of the model give for one image
_BYTES = {"float64": 8, "float32": 4}
_GPU_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # of NVIDIA, of WSL, of AMD


def check_device(device: str) -> None:
    """Raises a DeviceError for a GPU that the driver does not know."""
    gpus = query_gpus()
    # A container may have a GPU without NVML.
    told = gpus or not any(map(os.path.exists, _GPU_FILES))
    if told and device.startswith("gpu") and gpu_index(device) >= len(gpus):
        raise DeviceError(
            f"--device {device}: the driver knows {count_of(len(gpus), 'GPU')}, from gpu:0 on. "
            "Check it with nvidia-smi, or use --device cpu."
        )


def supported_precisions(device: str) -> tuple[Precision, ...]:
    """All that ``auto``, ``cpu``, ``gpu`` or ``gpu:N`` supports, in the order of the tables."""
    # NVML answers in milliseconds; loading TensorFlow for --collect-only would take seconds.
    gpus = () if device == "cpu" else query_gpus()
    tf32 = any((gpu.compute_capability or (0, 0)) >= (8, 0) for gpu in gpus)
    return tuple(p for p in PRECISIONS.values() if tf32 or not p.tensor_float_32)


def step_bytes(precisions: Iterable[Precision], batch_size: int) -> int:
    """About what a training step of the widest takes: each layer's output and its gradient."""
    width = max(_BYTES.get(precision.compute_dtype, 2) for precision in precisions)
    return 2 * _OUTPUTS * batch_size * width


def lack_of_memory(
    precisions: Iterable[Precision], batch_size: int, device: str, width: int = 1
) -> str:
    """Why a training step does not fit into the memory of the device; empty if it does."""
    gpus = () if device == "cpu" else query_gpus()[gpu_index(device) :]
    memory = gpus[0].memory_bytes if gpus else available_bytes()
    needed = step_bytes(precisions, batch_size) * width
    if memory is None or needed <= memory:
        return ""
    return (
        f"a training step takes about {needed / 1e9:.1f} GB of memory, and "
        f"{gpus[0].model if gpus else 'this machine'} has {memory / 1e9:.1f} GB; "
        f"lower it to {max(1, memory * batch_size // needed)} or less"
    )


def check_batch(precisions: Iterable[Precision], batch_size: int, device: str) -> None:
    """Refuses a batch that does not fit into the memory of the device, by a ValueError."""
    if reason := lack_of_memory(precisions, batch_size, device):
        raise ValueError(f"--batch-size {batch_size}: {reason}")
