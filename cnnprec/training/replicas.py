"""Training in which several replicas share every batch, by a strategy of `tf.distribute`."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cnnprec.training.step_log import StepLog
from cnnprec.training.trainer import Trainer
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
        model.step_log = self._log = StepLog(self.config.steps)  # one, not one a replica
        model.jit_compile = compiled = alone.jit_compiled  # to be compared with it
        self._gradients = tf.function(
            self._loss_and_gradients, jit_compile=compiled, autograph=False
        )
        # Keras would sum them here, behind the loss scaler, which then looks for infinities in
        # those of the first replica alone.
        adam: Any = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        adam._all_reduce_sum_gradients = lambda pairs: pairs
        model.one_step = self._one_step
        model.make_train_function()
        alone.model.make_train_function()  # that its turns take

    def start_turns(self) -> None:  # noqa: D102 - as there
        super().start_turns()
        self._iterator = self._iterate()

    def _iterate(self) -> Any:
        """An iterator over the parts of the batches that the replicas of this process have."""
        count = self._strategy.num_replicas_in_sync

        def split(*both: Any) -> tuple[Any, ...]:
            return tuple(tf.reshape(t, [count, t.shape[0] // count, *t.shape[1:]]) for t in both)

        def parts(context: Any) -> Any:
            shares = context.num_input_pipelines, context.input_pipeline_id
            # Repeated, they are known to be endless, and nobody has to ask for their end.
            return self.batches.map(split).unbatch().shard(*shares).repeat()

        return iter(self._strategy.distribute_datasets_from_function(parts))

    def _loss_and_gradients(self, images: Any, labels: Any) -> tuple[Any, list[Any]]:
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

        def step(*part: Any) -> Any:
            # XLA compiles each replica for itself; `run` would have it compile all of them as one.
            loss, gradients = self._gradients(*part)
            summed = tf.distribute.get_replica_context().all_reduce(_SUM, gradients)
            optimizer.apply_gradients(zip(summed, weights, strict=True))
            return loss

        mean = self._strategy.reduce(_SUM, self._strategy.run(step, batch), axis=None)
        self._log.note(mean, scale)
        return {"loss": mean}

    def _fit(self, epochs: int, steps: int, *watchers: keras.callbacks.Callback) -> list[float]:
        # The loop that TensorFlow documents: Keras would divide the batches by itself.
        watching = keras.callbacks.CallbackList(watchers, model=self.model)
        iterator, at_once = self._iterate(), self.config.steps_per_execution
        means = [0.0] * epochs
        for epoch in range(epochs):
            watching.on_epoch_begin(epoch)
            for done in range(at_once, steps + 1, at_once):
                self.model.take_steps(iterator, tf.constant(at_once))
                means[epoch] = float(np.mean(self._log.losses()[epoch * steps :]))
                watching.on_train_batch_end(done - 1, {"loss": means[epoch]})
        return means
