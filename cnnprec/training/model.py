"""TensorFlow's tutorial CNN for Fashion-MNIST in any precision; no global dtype policy is set."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from cnnprec.precision.precisions import Precision, get_precision
from cnnprec.training.step_log import StepLog
from cnnprec.workload.dataset import CLASSES, SIDE

IMAGE_SHAPE = (SIDE, SIDE, 1)


@keras.saving.register_keras_serializable("cnnprec")
class PixelsToUnit(keras.layers.Layer):  # type: ignore[misc]
    """Turns pixels 0..255, uint8 of any shape, into numbers 0..1 of the compute dtype."""

    def call(self, pixels: Any) -> Any:
        """Returns ``pixels / 255`` in the compute dtype, rounded once."""
        return keras.ops.cast(pixels, self.compute_dtype) / 255  # times 1/255 would round twice

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration; Keras writes it by itself only for a dtype given by name."""
        return dict(super().get_config())


class TutorialCNN(keras.Sequential):  # type: ignore[misc]
    """The tutorial's network, which notes the loss of every training step in `step_log`."""

    step_log: StepLog | None = None
    # Trains for a number of steps (int32 scalar) on an iterator of batches, and returns what the
    # last step did; it exists once `make_train_function` has run.
    take_steps: Any = None
    one_step: Any = None  # of several replicas, in place of Keras' step; compiles what it likes

    def make_train_function(self, force: bool = False) -> Any:  # - Keras' name
        """Has ``fit`` and single turns share one traced function, of any number of steps."""
        known: Any = self.train_function
        if known is not None and not force:
            return known
        step, jit = self.one_step or self.train_step, self.jit_compile and not self.one_step
        self.take_steps = repeated(step, jit)
        steps = tf.constant(self.steps_per_execution)
        self.train_function: Any = lambda iterator: self.take_steps(iterator, steps)
        return self.train_function

    def compute_loss(  # noqa: D102 - Keras documents it
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if training and self.step_log is not None:
            self.step_log.note(loss, getattr(self.optimizer, "dynamic_scale", 1.0))
        return loss


def repeated(work: Callable[[Any], Any], jit_compile: bool | str) -> Any:
    """A function of an iterator and a number (int32 scalar): works on so many of its batches.

    It runs without returning to Python, and returns what the last work did.
    """
    once = tf.function(work, jit_compile=jit_compile, autograph=False)

    def take_steps(iterator: Any, steps: Any) -> Any:
        def again(done: Any, outputs: Any) -> Any:  # noqa: ARG001 - tf.while_loop's signature
            return done + 1, once(iterator.get_next())

        return tf.while_loop(
            lambda done, outputs: done < steps,  # noqa: ARG005 - likewise
            again,
            (tf.constant(1), once(iterator.get_next())),
        )[1]

    return tf.function(take_steps, autograph=False)


def build_optimizer(precision: Precision) -> keras.optimizers.Optimizer:
    """Adam with Keras' defaults and the precision's overrides, and its loss scaling if any."""
    adam = keras.optimizers.Adam(**dict(precision.optimizer_overrides))
    if precision.loss_scaling:
        return keras.mixed_precision.LossScaleOptimizer(adam)
    return adam


def build_model(
    precision: Precision | str,
    *,
    softmax_dtype: str | None = None,
    optimizer: keras.optimizers.Optimizer | None = None,
    jit: str = "auto",
    steps_per_execution: int = 1,
    width: int = 1,
) -> TutorialCNN:
    """Builds and compiles the tutorial CNN; all its variables and slots exist on return.

    Convolutions of 32, 64 and 64 channels (3 x 3), a 2 x 2 max pooling behind each of the
    first two, a dense layer of 64, a softmax over 10 classes; 93,322 weights. Source:
    https://www.tensorflow.org/tutorials/images/cnn

    Args:
        precision: Types of weights and computations, such as ``"mixed_half"``.
        softmax_dtype: Type of the softmax, such as ``"float32"``, which is TensorFlow's
            advice for mixed precision. None computes it in the compute dtype.
        optimizer: Used in place of `build_optimizer`'s. It comes with loss scaling where the
            precision asks for that, and without where it does not.
        jit: ``"on"`` for XLA, ``"auto"`` for Keras' own rule; for the other ones of
            `cnnprec.workload.profiles.JIT_CHOICES` the precision alone decides.
        steps_per_execution: Training steps per call into TensorFlow.
        width: Factor on the channels and units of the hidden layers, at least 1.

    Returns:
        A model that takes uint8 images ``[batch, 28, 28, 1]`` and returns class
        probabilities ``[batch, 10]`` of the softmax dtype.

    Raises:
        ValueError: The precision is unknown, or the optimizer has another loss scaling.
    """
    precision = get_precision(precision) if isinstance(precision, str) else precision
    if optimizer is not None:
        _check_optimizer(precision, optimizer)
    dtype = keras.DTypePolicy(precision.policy_name)
    layers = keras.layers
    if softmax_dtype is None:
        head = [layers.Dense(CLASSES, activation="softmax", dtype=dtype, name="dense2")]
    else:
        softmax = layers.Activation("softmax", dtype=softmax_dtype, name="softmax")
        head = [layers.Dense(CLASSES, dtype=dtype, name="dense2"), softmax]
    model = TutorialCNN(
        [
            keras.Input(IMAGE_SHAPE, dtype="uint8"),
            PixelsToUnit(dtype=dtype, name="pixels"),
            layers.Conv2D(32 * width, 3, activation="relu", dtype=dtype, name="conv1"),
            layers.MaxPooling2D(2, dtype=dtype, name="pool1"),
            layers.Conv2D(64 * width, 3, activation="relu", dtype=dtype, name="conv2"),
            layers.MaxPooling2D(2, dtype=dtype, name="pool2"),
            layers.Conv2D(64 * width, 3, activation="relu", dtype=dtype, name="conv3"),
            layers.Flatten(dtype=dtype, name="flatten"),
            layers.Dense(64 * width, activation="relu", dtype=dtype, name="dense1"),
            *head,
        ],
        name=f"cnn_{precision.name}",
    )
    model.compile(
        optimizer=optimizer or build_optimizer(precision),
        loss=keras.losses.SparseCategoricalCrossentropy(dtype=precision.loss_dtype),
        # Keras would wrap the optimizer if the caller's global policy is mixed_float16.
        auto_scale_loss=False,
        jit_compile=precision.xla or {"auto": "auto", "on": True}.get(jit, False),
        steps_per_execution=steps_per_execution,
    )
    model.optimizer.build(model.trainable_variables)
    return model


def _check_optimizer(precision: Precision, optimizer: keras.optimizers.Optimizer) -> None:
    scaler = keras.mixed_precision.LossScaleOptimizer
    wrapped = isinstance(optimizer, scaler)
    if wrapped and isinstance(optimizer.inner_optimizer, scaler):
        raise ValueError(
            "the optimizer is a LossScaleOptimizer around another LossScaleOptimizer, which "
            "scales the loss twice; wrap a bare optimizer once"
        )
    if wrapped is not precision.loss_scaling:
        remedy = "without loss scaling; wrap it in keras.optimizers.LossScaleOptimizer"
        if wrapped:
            remedy = "with loss scaling; pass its inner_optimizer"
        raise ValueError(
            f"{precision.name} has loss_scaling={precision.loss_scaling}, but its optimizer "
            f"{type(optimizer).__name__} comes {remedy}, or change the precision's loss_scaling "
            "with dataclasses.replace"
        )


def initial_weights(model: keras.Model, seed: int) -> list[npt.NDArray[Any]]:
    """Draws Glorot uniform kernels and zero biases in float32, and rounds: one start for all."""
    weights = []
    for index, variable in enumerate(model.trainable_variables):
        if variable.name == "bias":
            value = np.zeros(variable.shape, np.float32)
        else:
            draw = keras.initializers.GlorotUniform(seed=seed * 1000 + index)
            value = draw(variable.shape, dtype="float32").numpy()
        weights.append(value.astype(tf.as_dtype(variable.dtype).as_numpy_dtype))
    return weights
