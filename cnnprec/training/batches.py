"""Images as tensors, and the endless pipeline of shuffled batches."""

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from cnnprec.workload.dataset import ALIGNMENT, Dataset, aligned_empty
from cnnprec.workload.profiles import TrainingConfig

_ENDLESS = 2**62  # more steps than anyone trains


def check_dataset(config: TrainingConfig, dataset: Dataset) -> None:
    """Raises a ValueError where the dataset has another size than the config trains on."""
    for kind, wanted, found in (
        ("training", config.train_samples, len(dataset.train_labels)),
        ("test", config.test_samples, len(dataset.test_labels)),
    ):
        if found != wanted:
            raise ValueError(
                f"{wanted} {kind} images asked for, but the {dataset.name} data hold {found}; "
                f"load the dataset with {'train' if kind == 'training' else kind}_samples={wanted}"
            )


def tensors(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]) -> tuple[Any, Any]:
    """Images and labels as tensors in host memory, without a copy where that is possible."""
    return _tensor(images), _tensor(labels)


def _tensor(array: npt.NDArray[np.uint8]) -> Any:
    """A tensor on the array's own memory, or on a copy of it where that is not aligned.

    The array must not change afterwards. `tf.convert_to_tensor` would hold on to twice the memory
    (docs/performance.md); DLPack's, where it is not aligned, aborts the process.
    """
    owner = array.base
    if (
        isinstance(owner, np.ndarray)
        and owner.flags.writeable
        and array.flags.c_contiguous
        and array.ctypes.data % ALIGNMENT == 0
    ):
        # DLPack cannot say "read-only", which the array is, so it gets the owner's memory.
        start = array.ctypes.data - owner.ctypes.data
        memory = owner.reshape(-1).view(np.uint8)[start : start + array.nbytes]
        shared = memory.reshape(array.shape)
    else:
        shared = aligned_empty(array.shape)
        shared[...] = array
    return tf.experimental.dlpack.from_dlpack(shared.__dlpack__())


def shuffled_batches(images: Any, labels: Any, config: TrainingConfig, seed: int) -> Any:
    """An endless dataset of ``(uint8 [batch, 28, 28, 1], uint8 [batch])``.

    Each epoch has a permutation computed from seed and epoch alone, the same on every machine.
    """
    size = config.batch_size
    last = len(labels) - 1

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def batch(step: Any) -> tuple[Any, Any]:
        step = tf.cast(step, tf.int32)
        epoch, place = step // config.steps_per_epoch, step % config.steps_per_epoch
        places = tf.range(size) + place * size
        if last:  # there is nothing to shuffle in one image
            places = tf.random.experimental.index_shuffle(places, tf.stack([seed, epoch]), last)
        return tf.gather(images, places), tf.gather(labels, places)

    options = tf.data.Options()
    # In TensorFlow 2.21 the end of an epoch waits for the tuner's sleeping thread, which rounds
    # the time of an epoch up (docs/performance.md).
    options.autotune.enabled = False
    options.threading.private_threadpool_size = 1
    # To rewrite the pipeline TensorFlow copies all images whenever an iterator is made.
    options.experimental_optimization.apply_default_optimizations = False
    return tf.data.Dataset.range(_ENDLESS).map(batch).prefetch(2).with_options(options)
