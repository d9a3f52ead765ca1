"""Trains one precision by Keras' own ``fit``; docs/performance.md shows what the harness costs."""

import hashlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from cnnprec.precision.precisions import Precision, get_precision
from cnnprec.records.record import LEARNED_BY, MOST_SCALE_CHANGES, Outcome, TrainingRun
from cnnprec.training.batches import check_dataset, shuffled_batches, tensors
from cnnprec.training.device import tensor_float_32, wait_for_devices
from cnnprec.training.model import build_model, initial_weights
from cnnprec.training.step_log import StepLog
from cnnprec.workload.dataset import Dataset
from cnnprec.workload.load_dataset import load_dataset
from cnnprec.workload.profiles import TrainingConfig, get_profile

OnProgress = Callable[[int, int, float], None]
"""Called with the epoch from 0, the steps of the run done so far, and the mean loss of the
epoch so far."""

_FIRST_LOSSES = 16
_TEST_BATCH = 100  # wide enough; the activations of the first layer take 17 MB in float64


class Trainer:
    """One precision's model with its data, to be trained again and again, traced only once.

    A run is ``reset``, ``fit``, ``finish``. Only ``fit`` is meant to be timed.
    """

    alone: "Trainer | None" = None  # of one device, where this is of several replicas

    def __init__(self, precision: Precision, config: TrainingConfig, dataset: Dataset) -> None:
        self.precision = precision
        self.config = config
        self.model = build_model(
            precision,
            jit=config.jit,
            steps_per_execution=config.steps_per_execution,
            width=config.width,
        )
        self.model.step_log = self._log = StepLog(config.steps)
        # In host memory: the pipeline gathers batches there, and only they travel to a GPU.
        self._train = tensors(dataset.train_images, dataset.train_labels)
        self._test = tensors(dataset.test_images, dataset.test_labels)
        self._optimizer_start = [v.numpy() for v in self.model.optimizer.variables]
        # One function a model: shared by all, it would be traced anew for each of them.
        self._count_correct = tf.function(self._count_correct_eagerly, reduce_retracing=True)
        self._seed = config.seed
        self.batches: tf.data.Dataset  # of the run that `reset` prepared
        self._iterator: Any = None
        self._losses: list[float] = []
        self._last_epoch_start: list[npt.NDArray[Any]] = []

    @property
    def jit_compiled(self) -> bool:
        """Whether XLA compiles the training step."""
        return bool(self.model.jit_compile)

    def warm_up(self) -> None:
        """Traces and compiles everything that ``fit`` and ``finish`` call, and runs it once."""
        self.reset(self.config.seed)
        with tensor_float_32(self.precision.tensor_float_32):
            steps = self.config.steps_per_execution
            self.model.fit(self.batches, steps_per_epoch=steps, verbose=0, shuffle=False)
            self._count_correct(*(tensor[:1] for tensor in self._test))
        wait_for_devices()

    def reset(self, seed: int) -> None:
        """Puts the model into the state of a fresh one for this seed."""
        self._seed = seed
        self._log.clear()
        start = [*initial_weights(self.model, seed), *self._optimizer_start]
        variables = [*self.model.trainable_variables, *self.model.optimizer.variables]
        for variable, value in zip(variables, start, strict=True):
            variable.assign(value)
        self.batches = shuffled_batches(*self._train, self.config, seed)

    def fit(self, on_progress: OnProgress | None = None) -> None:
        """Trains for all epochs; returns when the device has finished."""
        watcher = _Watcher(self.config, on_progress)
        with tensor_float_32(self.precision.tensor_float_32):
            history = self.model.fit(
                self.batches,
                epochs=self.config.epochs,
                steps_per_epoch=self.config.steps_per_epoch,
                verbose=0,
                shuffle=False,
                callbacks=[watcher],
            )
            # What the last step put into a GPU's queue may still be running.
            wait_for_devices()
        self._losses = [float(loss) for loss in history.history["loss"]]
        self._last_epoch_start = watcher.last_epoch_start

    def start_turns(self) -> None:
        """Makes ready for `take`: a fresh start, and an iterator over its batches."""
        self.reset(self.config.seed)
        self._iterator = iter(self.batches)

    def take(self, steps: int) -> None:
        """Trains for some steps, after `start_turns`; returns when the device is done."""
        with tensor_float_32(self.precision.tensor_float_32):
            self.model.take_steps(self._iterator, tf.constant(steps))
            wait_for_devices()

    def finish(self) -> TrainingRun:
        """Judges the run just trained."""
        losses, scales = self._log.losses(), self._log.scales()
        weights = self.model.get_weights()
        bad = np.flatnonzero(~np.isfinite(losses))
        images = len(self._test[1])
        accuracy = self.count_correct(images) / images
        changes = np.flatnonzero(np.diff(scales, prepend=np.float32(np.nan)))
        if changes.size > MOST_SCALE_CHANGES:
            changes = np.append(changes[: MOST_SCALE_CHANGES - 1], changes[-1])
        scaled = self.precision.loss_scaling
        return TrainingRun(
            seed=self._seed,
            outcome=self._outcome(losses, weights, accuracy),
            losses=tuple(map(_shortest, self._losses)),
            first_losses=tuple(map(_shortest, losses[:_FIRST_LOSSES])),
            test_accuracy=accuracy,
            first_bad_step=int(bad[0]) if bad.size else None,
            loss_scales=tuple((int(s), float(scales[s])) for s in changes if scaled),
            weights_sha256=hashlib.sha256(b"".join(w.tobytes() for w in weights)).hexdigest(),
        )

    def _outcome(
        self, losses: npt.NDArray[np.float32], weights: list[npt.NDArray[Any]], accuracy: float
    ) -> Outcome:
        # A loss that was infinite once, in a step that the loss scaler skipped, is no
        # divergence: what counts is how the run ended. NumPy's isfinite knows float64.
        finite = all(np.isfinite(w.astype(np.float64)).all() for w in weights)
        if not (finite and np.isfinite(losses[-1])):
            return Outcome.DIVERGED
        moved = any(
            before.tobytes() != after.tobytes()
            for before, after in zip(self._last_epoch_start, weights, strict=True)
        )
        if not moved and self._has_gradient():
            return Outcome.FROZEN
        labels = self._test[1].numpy()
        share = float(np.bincount(labels).max()) / len(labels)  # of the most frequent class
        # Guessing exceeds it once in a million times.
        guessing = share + 4.75 * float(np.sqrt(share * (1 - share) / len(labels)))
        learns = self.config.steps < LEARNED_BY or accuracy > guessing
        return Outcome.TRAINED if learns else Outcome.NOT_LEARNING

    def _has_gradient(self) -> bool:
        images, labels = next(iter(self.batches))
        with tf.GradientTape() as tape:
            loss = self.model.compute_loss(y=labels, y_pred=self.model(images), training=False)
        gradients = tape.gradient(loss, self.model.trainable_variables)
        return any(np.any(gradient.numpy() != 0) for gradient in gradients)

    def test_images(self, most: int) -> tuple[Any, Any]:
        """The first of the test images, and their labels."""
        images, labels = self._test
        return images[:most], labels[:most]

    def count_correct(self, most: int) -> int:
        """How many of the first test images the model gets right."""
        with tensor_float_32(self.precision.tensor_float_32):
            return int(self._count_correct(*self.test_images(most)))

    def _count_correct_eagerly(self, images: Any, labels: Any) -> Any:
        correct = tf.zeros([], tf.int64)
        for start in tf.range(0, tf.shape(images)[0], _TEST_BATCH):
            outputs = self.model(images[start : start + _TEST_BATCH], training=False)
            right = tf.cast(labels[start : start + _TEST_BATCH], tf.int64)
            correct += tf.math.count_nonzero(tf.argmax(outputs, axis=-1) == right)
        return correct


def train(
    precision: Precision | str,
    config: TrainingConfig | str = "quick",
    dataset: Dataset | None = None,
    *,
    seed: int | None = None,
    on_progress: OnProgress | None = None,
) -> TrainingRun:
    """Trains one fresh model; nothing is timed.

    Args:
        precision: What to train in, such as ``"mixed_half"``.
        config: How much to train: a profile's name or its numbers; ``runs`` is not used.
        dataset: As many images as the config asks for; None for `cnnprec.load_dataset`'s.
        seed: Of the initial weights and the order of the images, in place of the config's.
        on_progress: Called after every `TrainingConfig.steps_per_execution` steps.

    Returns:
        Outcome, losses, accuracy (a fraction) and the hash of the weights.

    Raises:
        ValueError: A name is unknown, or the dataset has another size than the config asks for.
    """
    precision = get_precision(precision) if isinstance(precision, str) else precision
    config = get_profile(config) if isinstance(config, str) else config
    if dataset is None:
        dataset = load_dataset(train_samples=config.train_samples, test_samples=config.test_samples)
    check_dataset(config, dataset)
    trainer = Trainer(precision, config, dataset)
    trainer.reset(config.seed if seed is None else seed)
    trainer.fit(on_progress)
    return trainer.finish()


def _shortest(loss: float) -> float:
    """The shortest decimal number that is this loss in float32, as which losses are kept."""
    return float(str(np.float32(loss)))


class _Watcher(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the weights at the start of the last epoch and passes progress on."""

    def __init__(self, config: TrainingConfig, on_progress: OnProgress | None) -> None:
        super().__init__()
        self.last_epoch_start: list[npt.NDArray[Any]] = []
        self._config = config
        self._on_progress = on_progress
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras' signature
        self._epoch = epoch
        if epoch == self._config.epochs - 1:
            self.last_epoch_start = self.model.get_weights()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._on_progress is not None:
            done = self._epoch * self._config.steps_per_epoch + batch + 1
            self._on_progress(self._epoch, done, float(logs["loss"]))
