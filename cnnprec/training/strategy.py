"""Which devices share each batch: the strategy of `tf.distribute`."""

from typing import Any

import tensorflow as tf

from cnnprec.machine.names import DeviceError, WorkerLostError
from cnnprec.training.cluster import join_cluster
from cnnprec.training.device import select_device

_LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.UnavailableError,
)


def select_strategy(kind: str, device: str, batch_size: int) -> tuple[str, Any]:
    """Sets up the devices of a strategy, before TensorFlow's first operation.

    The kind is one of `cnnprec.workload.profiles.STRATEGIES`; for ``"multiworker"`` it waits for
    the other workers. Returns what `select_device` does, and a `tf.distribute.Strategy` or None.
    DeviceError if the devices cannot be had, or cannot share the batch evenly.
    """
    if kind == "none":
        return select_device(device), None
    if ":" in device:
        raise DeviceError(f"--device {device}: --strategy {kind} uses all GPUs; give gpu or auto")
    selected = select_device(device, every=True)
    gpus = len(tf.config.get_visible_devices("GPU"))
    if kind == "mirrored":
        replicas = gpus or len(tf.config.list_logical_devices("CPU"))
    else:
        replicas = join_cluster() * (gpus or 1)
    if replicas < 2:
        raise DeviceError(
            f"--strategy {kind}: TensorFlow sees {replicas} {selected[:3].upper()}, at least 2 are "
            "needed. Check the GPUs with nvidia-smi, or leave the option out."
        )
    if batch_size % replicas:
        raise DeviceError(
            f"--batch-size {batch_size}: give a multiple of {replicas}, the number of replicas"
        )
    if kind == "mirrored":
        return selected, tf.distribute.MirroredStrategy()
    ways = tf.distribute.experimental.CommunicationImplementation
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=ways.RING if selected == "cpu" else ways.AUTO
    )
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise DeviceError(f"--strategy {kind}: cannot join the workers: {error}") from None
    # Initial values are the same on all workers, and those in bfloat16 could not be broadcast.
    own: Any = strategy.extended
    own._get_variable_creator_initial_value = super(
        type(own), own
    )._get_variable_creator_initial_value
    return selected, strategy


def agreed(strategy: Any, number: float) -> float:
    """The mean of a number over all workers, so that all do the same; of one process, as it is."""
    if strategy is None:
        return number
    copies = strategy.run(lambda: tf.constant(number, tf.float64))
    return float(strategy.reduce(tf.distribute.ReduceOp.MEAN, copies, axis=None))


def explained(error: Exception) -> Exception:
    """The error, or in place of TensorFlow's one which says that another worker is gone."""
    if not isinstance(error, _LOST):
        return error
    return WorkerLostError(
        "another worker has ended, or cannot be reached. Look at what it printed, and start all of "
        f"them again. TensorFlow: {error.message.partition('Collective ops')[2] or error.message}"
    )
