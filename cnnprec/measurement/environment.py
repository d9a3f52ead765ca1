"""What this machine and its software are, as far as results can depend on it."""

import platform

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled

from cnnprec.machine.code import code_digest, commit
from cnnprec.machine.cpu import cpu_features, cpu_model, usable_cores
from cnnprec.machine.gpu import Gpu, query_gpus
from cnnprec.numerics.onednn import onednn_enabled
from cnnprec.records.record import Environment


def describe_environment(device: str) -> Environment:
    """Reads the environment of this process; the device is ``"cpu"`` or ``"gpu:N"``."""
    gpu = _gpu(device)
    build = tf.sysconfig.get_build_info()
    return Environment(
        device_kind="gpu" if gpu else "cpu",
        device_model=gpu.model if gpu else cpu_model(),
        device_count=1 if gpu else usable_cores(),
        device_memory_bytes=gpu.memory_bytes if gpu else None,
        cpu_model=cpu_model(),
        cpu_features=cpu_features(),
        usable_cores=usable_cores(),
        system=platform.system(),
        architecture=platform.machine(),
        kernel=platform.release(),
        python=platform.python_version(),
        numpy=np.__version__,
        keras=keras.__version__,
        tensorflow=tf.__version__,
        cuda=build.get("cuda_version") if gpu else None,
        cudnn=build.get("cudnn_version") if gpu else None,
        driver=gpu.driver if gpu else None,
        vbios=gpu.vbios if gpu else None,
        power_limit_watts=gpu.power_limit_watts if gpu else None,
        mig_mode=gpu.mig_mode if gpu else None,
        onednn=onednn_enabled(),
        intra_op_threads=tf.config.threading.get_intra_op_parallelism_threads(),
        inter_op_threads=tf.config.threading.get_inter_op_parallelism_threads(),
        op_determinism=bool(is_op_determinism_enabled()),
        code=code_digest(),
        commit=commit(),
    )


def _gpu(device: str) -> Gpu | None:
    kind, _, index = device.partition(":")
    if kind != "gpu":
        return None
    gpus = query_gpus()
    if int(index) < len(gpus):
        return gpus[int(index)]
    # TensorFlow sees a GPU that NVML does not (another vendor's): keep what it tells.
    details = tf.config.experimental.get_device_details(tf.config.get_visible_devices("GPU")[0])
    return Gpu(details.get("device_name", "unknown GPU"), *[None] * 6)
