"""Defects of Keras' loss scaling that this suite works around, kept as strict xfails.

A fix upstream turns its test into a failure here ("XPASS(strict)"), and then the
workaround can go. Every defect has a passing twin: the same code in the case that
works, so that a test that is broken itself cannot pose as an expected failure.

docs/known-defects.md holds the text for a report upstream.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

# Keras 3.15 saves a variable with np.array(variable), and TensorFlow's __array__ does not
# know the `copy` argument that NumPy 2 passes. Nothing of ours is deprecated.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

VERSIONS = "TensorFlow 2.21.0, Keras 3.15.1, CPU"
HALVINGS_TO_ZERO = 15 + 126 + 1  # from 2**15 to the smallest normal 2**-126, and once more
GROWTHS_TO_INFINITY = 127 - 15 + 1  # from 2**15 to 2**127, and once more


def defect(slug: str, what: str) -> pytest.MarkDecorator:
    """Marks a test that fails because of the defect with this heading in the docs."""
    return pytest.mark.xfail(
        strict=True, raises=AssertionError, reason=f"{slug}: {what} ({VERSIONS})"
    )


class Rig:
    """A weight of two elements under a LossScaleOptimizer around SGD(learning_rate=0.5)."""

    def __init__(self, jit: str = "graph", growth_steps: int = 2000) -> None:
        self.weight = keras.Variable(np.array([1.0, 2.0], "float32"))
        self.optimizer = keras.optimizers.LossScaleOptimizer(
            keras.optimizers.SGD(0.5), dynamic_growth_steps=growth_steps
        )
        self.optimizer.build([self.weight])
        self._growth_steps = growth_steps
        self.apply: Callable[[tf.Tensor], None] = lambda gradient: self.optimizer.apply([gradient])
        if jit != "eager":
            self.apply = tf.function(self.apply, jit_compile=jit == "xla")
        self.start = self.state()

    @property
    def scale(self) -> float:
        return float(self.optimizer.dynamic_scale.numpy())

    @property
    def value(self) -> np.ndarray:
        return self.weight.numpy()

    def step(self, *gradient: float) -> None:
        """One step with these scaled gradients."""
        self.apply(tf.constant(gradient, tf.float32))

    def state(self) -> list[np.ndarray]:
        return [variable.numpy() for variable in (self.weight, *self.optimizer.variables)]

    def restore(self, state: list[np.ndarray]) -> None:
        for variable, value in zip((self.weight, *self.optimizer.variables), state, strict=True):
            variable.assign(value)
        self.optimizer.dynamic_growth_steps = self._growth_steps


# Tracing and compiling a step takes longer than a hundred of them, so the tests share the rigs.
shared_rig = functools.cache(Rig)


@functools.cache
def state_after(
    jit: str, growth_steps: int, gradient: tuple[float, float], steps: int
) -> list[np.ndarray]:
    """The state after so many steps with this gradient.

    The last step of those that lead to zero or infinity is taken from the state before it, which
    is asked for too.
    """
    rig = shared_rig(jit, growth_steps)
    if steps in (HALVINGS_TO_ZERO, GROWTHS_TO_INFINITY):
        rig.restore(state_after(jit, growth_steps, gradient, steps - 1))
        steps = 1
    else:
        rig.restore(rig.start)
    for _ in range(steps):
        rig.step(*gradient)
    return rig.state()


def after_skips(steps: int, jit: str) -> Rig:
    """A rig that skipped so many steps in a row."""
    rig = shared_rig(jit, 2000)
    rig.restore(state_after(jit, 2000, (np.nan, 1.0), steps))
    return rig


def after_growths(steps: int, jit: str) -> Rig:
    """A rig whose scale grew so many times."""
    rig = shared_rig(jit, 1)
    rig.restore(state_after(jit, 1, (0.0, 0.0), steps))
    return rig


modes = pytest.mark.parametrize("jit", ["eager", "graph", "xla"])


# scale-underflows-to-zero


@defect("scale-underflows-to-zero", "142 skipped steps in a row halve the loss scale to 0")
@modes
def test_the_scale_stays_positive_however_many_steps_are_skipped(jit: str) -> None:
    rig = after_skips(HALVINGS_TO_ZERO, jit)
    assert rig.scale > 0.0


@defect("scale-underflows-to-zero", "a scale of 0 turns finite gradients into 0/0 = NaN weights")
@modes
def test_finite_gradients_leave_finite_weights_after_many_skipped_steps(jit: str) -> None:
    rig = after_skips(HALVINGS_TO_ZERO, jit)
    rig.step(0.0, 0.0)
    assert np.isfinite(rig.value).all()


@modes
def test_one_skipped_step_fewer_leaves_a_scale_that_works(jit: str) -> None:
    rig = after_skips(HALVINGS_TO_ZERO - 1, jit)
    assert rig.scale == 2.0**-126
    rig.step(2.0**-126, 0.0)  # a true gradient of (1, 0)
    assert rig.value.tolist() == [0.5, 2.0]


# scale-overflows-to-infinity


@defect("scale-overflows-to-infinity", "113 growths double the loss scale to inf, for ever")
@modes
def test_the_scale_stays_finite_however_often_it_grows(jit: str) -> None:
    rig = after_growths(GROWTHS_TO_INFINITY, jit)
    assert np.isfinite(rig.scale)


@defect("scale-overflows-to-infinity", "an infinite scale makes every later step a skipped one")
def test_a_model_still_learns_after_many_growths() -> None:
    rig = after_growths(GROWTHS_TO_INFINITY, "eager")
    # From the largest power of two a scaled loss of 5 needs a few skipped steps; 20 are
    # plenty, while an infinite scale halves to infinity.
    for _ in range(20):
        with tf.GradientTape() as tape:
            loss = rig.optimizer.scale_loss(tf.reduce_sum(rig.weight.value**2))
        rig.optimizer.apply(tape.gradient(loss, [rig.weight.value]))
    assert rig.value.tolist() != [1.0, 2.0]


@modes
def test_one_growth_fewer_leaves_a_scale_that_works(jit: str) -> None:
    rig = after_growths(GROWTHS_TO_INFINITY - 1, jit)
    assert rig.scale == 2.0**127
    rig.optimizer.dynamic_growth_steps = 2000
    rig = rig if jit == "eager" else rig_at(rig.scale, jit)
    rig.step(2.0**127, 0.0)  # a true gradient of (1, 0)
    assert rig.value.tolist() == [0.5, 2.0]


def rig_at(scale: float, jit: str) -> Rig:
    """A rig at this scale: a traced step keeps the growth setting it was traced with."""
    rig = shared_rig(jit, 2000)
    rig.restore(rig.start)
    rig.optimizer.dynamic_scale.assign(scale)
    return rig


# growth-is-tested-by-equality


@defect("growth-is-tested-by-equality", "a growth setting below the counter never fires")
@pytest.mark.parametrize("how", ["set", "restored"])
def test_the_scale_grows_when_the_growth_setting_is_below_the_counter(how: str) -> None:
    rig = Rig("eager", growth_steps=10)
    for _ in range(5):
        rig.step(0.0, 0.0)
    if how == "set":
        rig.optimizer.dynamic_growth_steps = 3
    else:
        store: dict[str, np.ndarray] = {}
        rig.optimizer.save_own_variables(store)
        rig = Rig("eager", growth_steps=3)
        rig.optimizer.load_own_variables(store)
    for _ in range(20):
        rig.step(0.0, 0.0)
    assert rig.scale > 2.0**15


def test_the_scale_grows_on_time_when_the_growth_setting_is_above_the_counter() -> None:
    rig = Rig("eager", growth_steps=10)
    for _ in range(5):
        rig.step(0.0, 0.0)
    rig.optimizer.dynamic_growth_steps = 6
    rig.step(0.0, 0.0)
    assert rig.scale == 2.0**16


# finiteness-is-tested-before-unscaling


@defect(
    "finiteness-is-tested-before-unscaling", "finite / scale can be infinite below a scale of 1"
)
@modes
def test_a_gradient_that_overflows_by_unscaling_is_skipped(jit: str) -> None:
    rig = rig_at(2.0**-10, jit)
    rig.step(1e38, 1.0)
    assert np.isfinite(rig.value).all()


@modes
def test_a_gradient_that_survives_unscaling_is_applied(jit: str) -> None:
    rig = rig_at(2.0**-10, jit)
    rig.step(2.0**-10, 0.0)
    assert rig.value.tolist() == [0.5, 2.0]


# per-layer-mixed-float16-is-not-scaled


def compiled(model_dtype: str, layer_dtype: str) -> keras.Model:
    """A model that was compiled with a plain SGD."""
    inputs = keras.Input((4,))
    outputs = keras.layers.Dense(3, dtype=layer_dtype)(inputs)
    model = keras.Model(inputs, outputs)
    model.dtype_policy = keras.DTypePolicy(model_dtype)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


@defect(
    "per-layer-mixed-float16-is-not-scaled",
    "compile looks at the dtype policy of the model, not at those of its layers",
)
def test_compile_scales_the_loss_of_a_model_with_mixed_float16_layers() -> None:
    model = compiled("float32", layer_dtype="mixed_float16")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


def test_compile_scales_the_loss_of_a_mixed_float16_model() -> None:
    model = compiled("mixed_float16", layer_dtype="mixed_float16")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


def test_compile_does_not_scale_the_loss_of_a_float32_model() -> None:
    model = compiled("float32", layer_dtype="float32")
    assert isinstance(model.optimizer, keras.optimizers.SGD)


# weights-file-drops-the-scale


def scaled_model() -> keras.Model:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, dtype="mixed_float16")])
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1, momentum=0.9))
    model.compile(optimizer, "mse", jit_compile=False)
    return model


@pytest.fixture
def weights_file(tmp_path: Path) -> Path:
    """Weights of a run that had settled at a scale of 2**5, 7 steps after a change."""
    model = scaled_model()
    model.optimizer.build(model.trainable_variables)
    model.optimizer.dynamic_scale.assign(2.0**5)
    model.optimizer.step_counter.assign(7)
    file = tmp_path / "settled.weights.h5"
    model.save_weights(file)
    return file


def scale_and_counter(model: keras.Model) -> tuple[float, int]:
    optimizer = model.optimizer
    return float(optimizer.dynamic_scale.numpy()), int(optimizer.step_counter.numpy())


@defect(
    "weights-file-drops-the-scale",
    "load_weights into a compiled model skips the optimizer's variables with a warning only",
)
def test_load_weights_restores_the_scale_of_a_compiled_model(weights_file: Path) -> None:
    model = scaled_model()
    with warnings.catch_warnings():
        # "Skipping variable loading for optimizer ...": the only sign of the loss.
        warnings.simplefilter("ignore", UserWarning)
        model.load_weights(weights_file)
    model.optimizer.build(model.trainable_variables)
    assert scale_and_counter(model) == (2.0**5, 7)


def test_load_weights_restores_the_scale_once_the_optimizer_is_built(weights_file: Path) -> None:
    model = scaled_model()
    model.optimizer.build(model.trainable_variables)
    model.load_weights(weights_file)
    assert scale_and_counter(model) == (2.0**5, 7)


def test_load_model_restores_the_scale(weights_file: Path) -> None:
    model = scaled_model()
    model.optimizer.build(model.trainable_variables)
    model.load_weights(weights_file)
    file = weights_file.with_name("settled.keras")
    model.save(file)
    assert scale_and_counter(keras.models.load_model(file)) == (2.0**5, 7)


# skipped-step-writes-batch-statistics


@functools.cache
def step_of_batch_norm_model(worst: float) -> tuple[keras.Model, bool]:
    """One training step on eight images of ones, one of whose values is `worst`.

    Returns:
        The model after the step, and whether the step was skipped.
    """
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(2),
        ]
    )
    model.compile(
        keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)), "mse", jit_compile=False
    )
    images = np.ones((8, 4), "float32")
    images[0, 0] = worst
    model.train_on_batch(images, np.zeros((8, 2), "float32"))
    return model, scale_and_counter(model)[0] < 2.0**15


def all_finite(variables: list[keras.Variable]) -> bool:
    return all(np.isfinite(variable.numpy()).all() for variable in variables)


@defect(
    "skipped-step-writes-batch-statistics",
    "a skipped step still writes non-finite moving statistics, which nothing clears",
)
def test_a_skipped_step_leaves_the_moving_statistics_finite() -> None:
    model, skipped = step_of_batch_norm_model(worst=np.inf)
    if not skipped:
        pytest.fail("the step was not skipped, so this shows nothing")
    assert all_finite(model.non_trainable_variables)


def test_a_skipped_step_leaves_the_weights_of_a_batch_norm_model_finite() -> None:
    model, skipped = step_of_batch_norm_model(worst=np.inf)
    assert skipped
    assert all_finite(model.trainable_variables)


def test_an_applied_step_leaves_the_moving_statistics_finite() -> None:
    model, skipped = step_of_batch_norm_model(worst=2.0)
    assert not skipped
    assert all_finite(model.non_trainable_variables)


# muon-rejects-float64


def muon_step_is_taken(dtype: str) -> bool:
    """Whether Muon can step a matrix of this type at all."""
    weight = keras.Variable(np.eye(2), dtype=dtype)
    try:
        keras.optimizers.Muon().apply([tf.ones((2, 2), dtype)], [weight])
    # Mul of a double and a float tensor; Keras 3.12 reads a path that TensorFlow's has not.
    except (tf.errors.InvalidArgumentError, AttributeError):
        return False
    return True


@defect("muon-rejects-float64", "lr_adjust multiplies the update with a float32 square root")
def test_muon_steps_a_float64_matrix() -> None:
    assert muon_step_is_taken("float64")


@pytest.mark.xfail(
    keras.__version__.startswith("3.12."),
    strict=True,
    raises=AssertionError,
    reason=f"muon-rejects-float64: Keras 3.12 steps no matrix at all ({VERSIONS})",
)
def test_muon_steps_a_float32_matrix() -> None:
    assert muon_step_is_taken("float32")
