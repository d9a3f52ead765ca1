"""Which devices share each batch: the strategy of `tf.distribute`."""

from typing import Any

import tensorflow as tf

from cnnprec.machine.names import DeviceError
from cnnprec.training.device import select_device


def select_strategy(kind: str, device: str, batch_size: int) -> tuple[str, Any]:
    """Sets up the devices of a strategy, before TensorFlow's first operation.

    The kind is one of `cnnprec.workload.profiles.STRATEGIES`. Returns what `select_device` does,
    and a `tf.distribute.Strategy` or None. DeviceError if the devices cannot be had, or cannot
    share the batch evenly.
    """
    if kind == "none":
        return select_device(device), None
    if ":" in device:
        raise DeviceError(f"--device {device}: --strategy {kind} uses all GPUs; give gpu or auto")
    selected = select_device(device, every=True)
    known = tf.config.list_logical_devices("CPU" if selected == "cpu" else "GPU")
    replicas = len(known)
    if replicas < 2:
        raise DeviceError(
            f"--strategy {kind}: TensorFlow sees {replicas} {known[0].device_type}, at least 2 are "
            "needed. Check the GPUs with nvidia-smi, or leave the option out."
        )
    if batch_size % replicas:
        raise DeviceError(
            f"--batch-size {batch_size}: give a multiple of {replicas}, the number of replicas"
        )
    return selected, tf.distribute.MirroredStrategy([device.name for device in known])
