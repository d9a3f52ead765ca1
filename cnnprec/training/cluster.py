"""The workers of ``--strategy multiworker``, as TF_CONFIG or Slurm names them."""

import json
import os
import re
import socket
from typing import Any

import tensorflow as tf

from cnnprec.machine.names import DeviceError

_TYPES = ("chief", "worker")  # a worker 0 without a chief is the chief
_REMEDY = (
    "Set it on each host, with an index of its own counted from 0, such as TF_CONFIG="
    '\'{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
    '"task": {"type": "worker", "index": 0}}\''
)


def join_cluster() -> int:
    """Returns the number of workers; where there is Slurm alone, sets TF_CONFIG as it says.

    DeviceError if TF_CONFIG is wrong, or the port of this worker is in use.
    """
    if "TF_CONFIG" not in os.environ and "SLURM_JOB_ID" in os.environ:
        os.environ["TF_CONFIG"] = _config_of_slurm()
    text = os.environ.get("TF_CONFIG")
    if text is None:
        raise DeviceError(
            f"--strategy multiworker: TF_CONFIG is not set, nor is SLURM_JOB_ID. {_REMEDY}"
        )
    try:
        config = json.loads(text)
        problem = _problem(config)
    except ValueError as error:
        problem = f"is not JSON: {error}"
    if problem:
        raise DeviceError(f"--strategy multiworker: TF_CONFIG {text} {problem}. {_REMEDY}")
    cluster, task = config["cluster"], config["task"]
    _check_port(cluster[task["type"]][task["index"]])
    return sum(len(cluster.get(kind, ())) for kind in _TYPES)


def _problem(config: Any) -> str:
    """What is wrong with a TF_CONFIG; empty if nothing is."""
    match config:
        case {"cluster": {"worker": [_, *_]} as cluster, "task": {"type": kind, "index": index}}:
            pass
        case {"cluster": {"worker": [_, *_]}}:
            return "has no task with a type and an index"
        case _:
            return "has no cluster with a list of workers"
    known = [name for name in _TYPES if isinstance(cluster.get(name), list)]
    if kind not in known:
        return f"has the task type {kind!r}; its cluster has {' and '.join(known)}"
    if type(index) is not int or not 0 <= index < len(cluster[kind]):
        return f"has the task index {index!r}; those of {kind} are 0 to {len(cluster[kind]) - 1}"
    addresses = [address for name in known for address in cluster[name]]
    wrong = [a for a in addresses if not re.fullmatch(r"\S+:[0-9]{1,5}", str(a))]
    return f"has the address {wrong[0]!r}, which is not HOST:PORT" if wrong else ""


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
        raise DeviceError(f"--strategy multiworker: {error} Start it by srun.") from error
    kind, index = resolver.get_task_info()
    host = cluster[kind][index].rpartition(":")[0]
    node = os.environ.get("SLURMD_NODENAME", host)
    if node != host:  # TensorFlow sorts the hosts as text, host10 before host9
        raise DeviceError(
            f"--strategy multiworker: TensorFlow takes task {index} to be on {host}, but Slurm has "
            f"it on {node}. {_REMEDY}"
        )
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})
