"""What happens in every step, noted on the device so that no step returns to Python."""

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf


class StepLog:
    """Loss and loss scale of so many steps of a run, kept on the device; later ones are not."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        # NaN would be a plausible loss, so an unused place is told by the counter alone. The last
        # row takes the steps that are not kept.
        self._values = tf.Variable(tf.zeros([steps + 1, 2], tf.float32), trainable=False)
        # int64: TensorFlow keeps int32 variables in host memory on a GPU machine.
        self._count = tf.Variable(tf.zeros([], tf.int64), trainable=False)

    def note(self, loss: Any, scale: Any) -> None:
        """Notes one step, with scalars of any float dtype; works in a compiled function too."""
        row = tf.stack([tf.cast(loss, tf.float32), tf.cast(scale, tf.float32)])
        place = tf.minimum(self._count, self._steps)
        self._values.scatter_nd_update(tf.reshape(place, [1, 1]), row[None])
        self._count.assign_add(1)

    def clear(self) -> None:
        """Forgets all steps."""
        self._count.assign(0)

    def losses(self) -> npt.NDArray[np.float32]:
        """Loss of each step noted, float32 of shape ``[steps so far]``."""
        return self._column(0)

    def scales(self) -> npt.NDArray[np.float32]:
        """Loss scale that each step noted was computed with, likewise."""
        return self._column(1)

    def _column(self, index: int) -> npt.NDArray[np.float32]:
        kept = min(int(self._count.numpy()), self._steps)
        column: npt.NDArray[np.float32] = self._values.numpy()[:kept, index]
        return column
