"""What this machine and its software are, as far as results can depend on it."""

import os
import platform
import re
from hashlib import sha256

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled

from cnnprec.machine.code import code_digest, commit
from cnnprec.machine.cpu import cpu_features, cpu_model, usable_cores
from cnnprec.machine.gpu import Gpu, query_gpus
from cnnprec.numerics.onednn import onednn_enabled
from cnnprec.records.record import Environment
from cnnprec.text import printable

# Beginnings of the names of variables that decide which kernels compute, and how.
_VARIABLES = (
    *("CUBLAS_", "CUDA_", "CUDNN_", "DNNL_", "KERAS_BACKEND", "NVIDIA_TF32_OVERRIDE"),
    *("OMP_", "ONEDNN_", "TF_", "XLA_FLAGS"),
)
# What only says which GPU is used, where files are, what is printed; Terraform's; secrets.
_LEFT_OUT = re.compile(
    "CUDA_(CACHE_PATH|MPS_(LOG|PIPE)_DIRECTORY|VISIBLE_DEVICES)|TF_CPP_MIN_LOG_LEVEL|"
    "TF_(CLI|CLOUD|CONFIG|DATA_DIR|IN_AUTO|INPUT|LOG|PLUGIN|VAR|WORKSPACE).*|.*(KEY|PASSWORD|SECRET|TOKEN).*"
)
_LONGEST = 300


def describe_environment(device: str, replicas: int = 1) -> Environment:
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
        intra_op_threads=_threads("intra"),
        inter_op_threads=_threads("inter"),
        op_determinism=bool(is_op_determinism_enabled()),
        code=code_digest(),
        commit=commit(),
        variables=_variables(),
        host=printable(platform.node())[:_LONGEST],
        gpu_uuid=gpu.uuid if gpu else None,
        replicas=replicas,
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


def _threads(kind: str) -> int:
    """Threads of TensorFlow's pool: as the program sets, or a variable, or one a core."""
    asked = getattr(tf.config.threading, f"get_{kind}_op_parallelism_threads")()
    variable = os.environ.get(f"TF_NUM_{kind.upper()}OP_THREADS", "").strip()
    # TensorFlow passes over what is no 32-bit number.
    return int(asked or (re.fullmatch("[0-9]{1,9}", variable) and variable) or 0) or usable_cores()


def _variables() -> tuple[str, ...]:
    """Those of `_VARIABLES` that are set, ``"NAME=value"``; a digest tells long ones apart."""
    texts = (
        printable(f"{name}={value}")
        for name, value in sorted(os.environ.items())
        if name.startswith(_VARIABLES) and not _LEFT_OUT.fullmatch(name)
    )
    return tuple(
        text if len(text) <= _LONGEST else text[:_LONGEST] + sha256(text.encode()).hexdigest()[:12]
        for text in texts
    )
