"""Training in which several replicas share every batch, by a strategy of `tf.distribute`."""

from typing import Any

import numpy as np
import tensorflow as tf

from cnnprec.training.step_log import StepLog
from cnnprec.training.trainer import OnProgress, Trainer
from cnnprec.workload.dataset import Dataset

_SUM = tf.distribute.ReduceOp.SUM


class ReplicaTrainer(Trainer):
    """As the trainer `alone` of one device, but each replica has its part of every batch.

    The gradients are summed over all replicas before the optimizer sees them, so that all replicas
    take the same step, or skip it.
    """

    def __init__(self, alone: Trainer, dataset: Dataset, strategy: Any) -> None:
        with strategy.scope():
            super().__init__(alone.precision, alone.config, dataset)
        self.alone, self._strategy, model = alone, strategy, self.model
        # Keras would share batches by iterators whose end can wait for minutes in TensorFlow 2.21
        # (docs/strategies.md), and not at all among several hosts.
        model._distribute_strategy = tf.distribute.get_strategy()
        model.step_log = self._log = StepLog(self.config.steps)  # one, not one a replica
        model.jit_compile = compiled = alone.jit_compiled  # to be compared with it
        self._gradients = tf.function(self._backward, jit_compile=compiled, autograph=False)
        # Keras would sum them here, behind the loss scaler, which then looks for infinities in
        # those of the first replica alone.
        adam: Any = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        adam._all_reduce_sum_gradients = lambda pairs: pairs
        model.one_step = self._one_step
        model.make_train_function()

    def fit(self, on_progress: OnProgress | None = None) -> None:  # noqa: D102 - as there
        super().fit(on_progress)
        epochs = np.split(self._log.losses(), self.config.epochs)
        self._losses = [float(np.mean(losses)) for losses in epochs]

    def _backward(self, images: Any, labels: Any) -> tuple[Any, list[Any]]:
        """Of one replica; Keras divides by their number, so that the sums are the means."""
        model = self.model
        with tf.GradientTape() as tape:
            outputs = model(images, training=True)
            loss = model.compute_loss(y=labels, y_pred=outputs, training=False)  # notes no step
            scaled = model.optimizer.scale_loss(loss)
        return loss, tape.gradient(scaled, model.trainable_weights)

    def _one_step(self, batch: Any) -> dict[str, Any]:
        optimizer, weights = self.model.optimizer, self.model.trainable_weights
        scale = tf.convert_to_tensor(getattr(optimizer, "dynamic_scale", 1.0))

        def step(*batch: Any) -> Any:
            replica: Any = tf.distribute.get_replica_context()
            count, own = replica.num_replicas_in_sync, replica.replica_id_in_sync_group
            # Each replica has the whole batch, of which all know the order, and takes its part.
            parts = [tf.reshape(t, [count, -1, *t.shape[1:]])[own] for t in batch]
            # XLA compiles each replica for itself; `run` would have it compile all of them as one.
            loss, gradients = self._gradients(*parts)
            summed = replica.all_reduce(_SUM, gradients)
            optimizer.apply_gradients(zip(summed, weights, strict=True))
            return loss

        mean = self._strategy.reduce(_SUM, self._strategy.run(step, batch), axis=None)
        self._log.note(mean, scale)
        return {"loss": mean}
