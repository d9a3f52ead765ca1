"""The workers of ``--strategy multiworker``, as TF_CONFIG or Slurm names them."""

import json
import os
import re
import socket
from typing import Any

import tensorflow as tf

from cnnprec.machine.names import DeviceError

_REMEDY = (
    "Set it on each host, with an index of its own counted from 0, such as TF_CONFIG="
    '\'{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
    '"task": {"type": "worker", "index": 0}}\''
)


def join_cluster() -> int:
    """Returns the number of workers; where there is Slurm alone, sets TF_CONFIG as it says.

    DeviceError if TF_CONFIG is wrong, or the port of this worker is in use.
    """
    if "TF_CONFIG" not in os.environ:
        os.environ["TF_CONFIG"] = _config_of_slurm()
    text = os.environ["TF_CONFIG"]
    try:
        count, own = _addresses(json.loads(text))
    except (TypeError, ValueError) as error:
        wrong = f"--strategy multiworker: TF_CONFIG {text!r}: {error}. {_REMEDY}"
        raise DeviceError(wrong) from error
    _check_port(own)
    return count


def _addresses(config: Any) -> tuple[int, str]:
    """The number of workers, and the address of this one; ValueError if the config has none."""
    match config:
        case {"cluster": {"worker": [_, *_]} as cluster, "task": {"type": kind, "index": int(own)}}:
            every = [*cluster.get("chief", ()), *cluster["worker"]]
            wrong = [a for a in every if not re.fullmatch(r"\S+:[0-9]{1,5}", str(a))]
            if wrong:
                raise ValueError(f"the address {wrong[0]!r} is not HOST:PORT")
            if kind in ("chief", "worker") and 0 <= own < len(cluster.get(kind, ())):
                return len(every), cluster[kind][own]
            raise ValueError(f"its cluster has no {kind} {own}")
    raise ValueError("it needs a cluster with a list of workers, and a task with type and index")


def _check_port(address: str) -> None:
    with socket.socket() as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that just ended is gone
        try:
            own.bind(("", int(address.rpartition(":")[2])))
        except (OSError, OverflowError) as error:
            raise DeviceError(
                f"--strategy multiworker: the port of this worker, {address}, cannot be had "
                f"({error}). End what uses it, such as an older session, or name a free one."
            ) from error


def _config_of_slurm() -> str:
    try:
        # It would ask nvidia-smi for GPUs, which TensorFlow then counts itself, and divide by 0.
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
            gpus_per_node=1024, gpus_per_task=1, auto_set_gpu=False
        )
        cluster = resolver.cluster_spec().as_dict()
    except (RuntimeError, ValueError) as error:
        raise DeviceError(
            f"--strategy multiworker: TF_CONFIG is not set. {_REMEDY}. Under Slurm, start it by "
            f"srun: {error}"
        ) from error
    kind, index = resolver.get_task_info()
    host = cluster[kind][index].rpartition(":")[0]
    node = os.environ.get("SLURMD_NODENAME", host)
    if node != host:  # TensorFlow sorts the hosts as text, host10 before host9
        wrong = f"TensorFlow takes task {index} to be on {host}, but Slurm has it on {node}"
        raise DeviceError(f"--strategy multiworker: {wrong}. {_REMEDY}")
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})
