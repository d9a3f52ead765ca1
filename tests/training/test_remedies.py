"""What cures Adam in pure float16 and pure bfloat16, and what does not.

Each row of `REMEDIES` changes one thing and says what comes of it in either type. A change
that cures one type and leaves the other as sick as it was proves the cause: both types run
the same network on the same images.

docs/why-low-precision-fails.md tells the story and has the accuracies of whole trainings.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from cnnprec.diagnosis.causes import diagnose
from cnnprec.diagnosis.replay import Phase, replay
from cnnprec.precision.precisions import PRECISIONS
from cnnprec.training.model import CLASSES, build_model, build_optimizer, initial_weights

BATCH = 16
# The same batch again and again: its loss must fall, and a step costs about 0.15 s.
STEPS = 3


class Verdict(enum.Enum):
    CURED = "cured"
    """No weight moved beyond twice Adam's bound, weights move, and the loss falls."""
    BLOWS_UP = "blows up"
    """Step 0 moves a weight beyond twice Adam's bound where the second moment is zero."""
    FREEZES = "freezes"
    """Step 0 has gradients that are not zero, and no weight changes."""


class FloatSecondMoment(keras.optimizers.Adam):
    """Adam whose second moment is a float32 variable. The formulas are Keras' own."""

    def add_variable(self, *args: Any, dtype: Any = None, name: Any = None, **others: Any) -> Any:
        if str(name).endswith("_velocity"):
            dtype = "float32"
        return super().add_variable(*args, dtype=dtype, name=name, **others)


class OwnBiasCorrection(keras.optimizers.Adam):
    """Adam whose bias-corrected learning rate is computed here, in the type of the weight.

    A test holds it to the bits of Keras' Adam.
    """

    correction_dtype: str | None = None

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        dtype = self.correction_dtype or variable.dtype
        step = ops.cast(self.iterations + 1, dtype)
        power_1 = ops.power(ops.cast(self.beta_1, dtype), step)
        power_2 = ops.power(ops.cast(self.beta_2, dtype), step)
        rate = ops.cast(learning_rate, dtype) * ops.sqrt(1 - power_2) / (1 - power_1)
        index = self._get_variable_index(variable)
        m, v = self._momentums[index], self._velocities[index]
        m.assign_add((gradient - m) * (1 - self.beta_1))
        v.assign_add((ops.square(gradient) - v) * (1 - self.beta_2))
        rate = ops.cast(rate, variable.dtype)
        variable.assign_sub(m * rate / (ops.sqrt(v) + self.epsilon))


class DoubleBiasCorrection(OwnBiasCorrection):
    """The same in float64, rounded once at the end."""

    correction_dtype = "float64"


def adam(**settings: Any) -> Callable[[], keras.Optimizer]:
    return lambda: keras.optimizers.Adam(**settings)


def cross_entropy(**settings: Any) -> Callable[[Any, Any], Any]:
    return keras.losses.SparseCategoricalCrossentropy(dtype="float32", **settings)


@dataclasses.dataclass(frozen=True)
class Remedy:
    """One change, and what comes of it in pure float16 and in pure bfloat16."""

    name: str
    half: Verdict
    bfloat16: Verdict
    optimizer: Callable[[], keras.Optimizer] = keras.optimizers.Adam
    loss: Callable[[], Callable[[Any, Any], Any]] = cross_entropy
    activation: str = "softmax"


CURED, BLOWS_UP, FREEZES = Verdict
REMEDIES = (
    Remedy("nothing", BLOWS_UP, FREEZES),
    # The precisions of the suite that train.
    Remedy("half_stable", CURED, FREEZES, lambda: build_optimizer(PRECISIONS["half_stable"])),
    Remedy(
        "bfloat16_stable", BLOWS_UP, CURED, lambda: build_optimizer(PRECISIONS["bfloat16_stable"])
    ),
    # One power of ten below half_stable's 1e-4.
    Remedy("epsilon 1e-5", BLOWS_UP, FREEZES, adam(epsilon=1e-5)),
    Remedy("second moment in float32", CURED, FREEZES, FloatSecondMoment),
    Remedy("float64 bias correction", BLOWS_UP, CURED, DoubleBiasCorrection),
    Remedy(
        "SGD with momentum", CURED, CURED, lambda: keras.optimizers.SGD(2.0**-4, momentum=0.875)
    ),
    Remedy(
        "from_logits",
        BLOWS_UP,
        FREEZES,
        loss=lambda: cross_entropy(from_logits=True),
        activation="linear",
    ),
    Remedy(
        "loss x 1024",
        BLOWS_UP,
        FREEZES,
        loss=lambda: lambda labels, outputs: 1024 * cross_entropy()(labels, outputs),
    ),
)


@pytest.fixture(scope="module")
def models() -> dict[str, keras.Sequential]:
    """One model a type. `start` gives it weights, optimizer and loss; nothing is traced."""
    return {name: build_model(PRECISIONS[name]) for name in ("half", "bfloat16")}


@pytest.fixture(scope="module")
def batch(tiny_data: Any) -> tuple[Any, Any]:
    return (
        tf.constant(tiny_data.train_images[:BATCH]),
        tf.constant(tiny_data.train_labels[:BATCH]),
    )


@pytest.fixture(scope="module")
def weights(models: Any) -> dict[str, list[Any]]:
    """Drawn once: drawing them takes half as long as a step."""
    return {name: initial_weights(model, 12) for name, model in models.items()}


@pytest.fixture
def start(models: Any, weights: Any) -> Iterator[Callable[..., keras.Sequential]]:
    def put(name: str, remedy: Remedy) -> keras.Sequential:
        model = models[name]
        for variable, value in zip(model.trainable_variables, weights[name], strict=True):
            variable.assign(value)
        model.optimizer = remedy.optimizer()
        model.optimizer.build(model.trainable_variables)
        model.layers[-1].activation = keras.activations.get(remedy.activation)
        model.loss = remedy.loss()
        return model

    yield put
    for model in models.values():
        model.layers[-1].activation = keras.activations.softmax


def loss_of(model: keras.Sequential, batch: tuple[Any, Any]) -> float:
    images, labels = batch
    return float(model.loss(labels, model(images)))


def verdict(model: keras.Sequential, batch: tuple[Any, Any]) -> Verdict | None:
    """What becomes of the model; None if it is none of the verdicts."""
    before = loss_of(model, batch)
    steps = replay(model, [batch] * STEPS)
    first = next(steps)
    if first.blew_up:
        assert diagnose([first]).startswith("Adam's second moment underflowed in ")
        return BLOWS_UP
    if first.frozen:
        return FREEZES
    reports = [first, *steps]
    healthy = all(not report.bad and not report.blew_up and report.moved > 0 for report in reports)
    # False for a NaN too.
    return CURED if healthy and loss_of(model, batch) < before else None


@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda remedy: remedy.name)
@pytest.mark.parametrize("name", ["half", "bfloat16"])
def test_remedy_does_what_its_row_says(name, remedy, start, batch):
    assert verdict(start(name, remedy), batch) is getattr(remedy, name)


def test_own_bias_correction_is_that_of_keras_to_the_last_bit(start, batch):
    """So `DoubleBiasCorrection` differs from Keras' Adam in nothing but its correction."""
    weights = []
    for optimizer in (keras.optimizers.Adam, OwnBiasCorrection):
        model = start("half", dataclasses.replace(REMEDIES[0], optimizer=optimizer))
        list(replay(model, [batch]))
        weights.append(b"".join(value.tobytes() for value in model.get_weights()))
    assert weights[0] == weights[1]


# ------------------------------------------------------- half: the second moment underflows


LEARNING_RATE = 1e-3
# Keras' betas: at step 0 Adam can move a weight by sqrt(10) learning rates.
BOUND = LEARNING_RATE * 0.1 / math.sqrt(0.001)
# A gradient of sqrt(2**-25 / 0.001) = 0.00546 is the largest whose square times 0.001 rounds
# to zero. Its first moment is a tenth of it and the corrected rate 0.000316: the product
# 1.73e-7 is 2.9 times float16's smallest number, 2**-24, and rounds to 3 of them.
LARGEST_PRODUCT = 3 * 2.0**-24
# The largest weight of the start, from the Glorot limit of dense2.
LARGEST_WEIGHT = math.sqrt(6 / (64 + CLASSES))


@pytest.mark.parametrize("epsilon", [1e-7, 1e-6, 1e-5, 1e-4])
def test_update_of_a_lost_second_moment_is_a_product_over_epsilon(epsilon, start, batch):
    """Why half breaks: with the default epsilon, 3 of the smallest numbers over 2 are 1.5."""
    model = start("half", dataclasses.replace(REMEDIES[0], optimizer=adam(epsilon=epsilon)))
    (report,) = replay(model, [batch])
    update = LARGEST_PRODUCT / float(np.float16(epsilon))
    # Two roundings of 2**-11: of the quotient, and of the weight that it is taken from.
    error = 2.0**-11 * (update + (LARGEST_WEIGHT + update))
    assert report.largest_update * BOUND == pytest.approx(update, abs=error)
    assert report.blew_up == (update > 2 * BOUND)


def test_default_epsilon_of_half_is_two_of_its_smallest_numbers():
    assert float(np.float16(1e-7)) == 2 * 2.0**-24


def test_half_stable_leaves_the_second_moment_lost_and_only_bounds_the_quotient(start, batch):
    remedies = {remedy.name: remedy for remedy in REMEDIES}
    lost = {}
    for name in ("nothing", "half_stable", "second moment in float32"):
        (report,) = replay(start("half", remedies[name]), [batch])
        lost[name] = report.second_moment_zero
    assert lost["half_stable"] == lost["nothing"] > 0.5
    # Not zero: a square below 2**-25 is lost before it reaches v. Harmless, because the
    # product over epsilon is lost there as well.
    assert lost["second moment in float32"] < lost["nothing"]


@pytest.mark.parametrize("name", ["half", "bfloat16"])
def test_step_of_sgd_is_at_most_twice_its_rate_times_the_gradient(name, start, batch):
    """It divides by nothing. Beside its weight, which is a number of the type, a step is
    rounded by no more than its own size: hence twice.
    """
    (remedy,) = (remedy for remedy in REMEDIES if remedy.name == "SGD with momentum")
    model = start(name, remedy)
    variables = [variable.value for variable in model.trainable_variables]
    images, labels = batch
    with tf.GradientTape() as tape:
        loss = model.loss(labels, model(images))
    gradients = tape.gradient(loss, variables)
    before = [np.float64(value) for value in model.get_weights()]
    list(replay(model, [batch]))
    for old, new, gradient in zip(before, model.get_weights(), gradients, strict=True):
        # The rate is a power of two, so the product is exact where it is not subnormal, and
        # within half of the smallest number where it is.
        step = 2.0**-4 * np.abs(np.float64(gradient.numpy())) + 2.0**-25
        assert (np.abs(np.float64(new) - old) <= 2 * step).all()


# ------------------------------------------------------- bfloat16: beta_2 rounds to 1

# Halfway between 255/256 and 1; ties go to the even significand, which is that of 1.
TIE = 1 - 2.0**-9


@pytest.mark.parametrize(
    ("beta_2", "expected"),
    [
        (0.998, CURED),
        # The next float32, not the next float64: Keras' way to bfloat16 leads through it.
        (float(np.nextafter(np.float32(TIE), np.float32(0))), CURED),
        (TIE, FREEZES),
        (0.9981, FREEZES),
    ],
)
def test_bfloat16_trains_exactly_if_beta_2_does_not_round_to_1(beta_2, expected, start, batch):
    remedy = dataclasses.replace(REMEDIES[0], optimizer=adam(beta_2=beta_2))
    assert verdict(start("bfloat16", remedy), batch) is expected
    rounded = float(tf.cast(tf.constant(beta_2, tf.float64), tf.bfloat16))
    assert rounded == (1.0 if expected is FREEZES else 255 / 256)


def test_nadam_writes_nan_into_every_weight_of_bfloat16_at_once(start, batch):
    """1 - beta_2 is computed after the rounding, so v is 0, and its correction 1 - 1 is 0."""
    remedy = dataclasses.replace(REMEDIES[0], optimizer=keras.optimizers.Nadam)
    model = start("bfloat16", remedy)
    (report,) = replay(model, [batch])
    assert all(np.isnan(np.float64(value)).all() for value in model.get_weights())
    assert report.bad[0].phase is Phase.WEIGHT


def test_lamb_writes_nan_where_bfloat16_has_no_gradient_and_moves_no_other_weight(start, batch):
    """v / (1 - 1) is infinite where there is a gradient, so the update is 0; else it is 0/0."""
    remedy = dataclasses.replace(REMEDIES[0], optimizer=keras.optimizers.Lamb)
    model = start("bfloat16", remedy)
    images, labels = batch
    with tf.GradientTape() as tape:
        loss = model.loss(labels, model(images))
    variables = [variable.value for variable in model.trainable_variables]
    gradients = [np.float64(g.numpy()) for g in tape.gradient(loss, variables)]
    before = [np.float64(value) for value in model.get_weights()]
    list(replay(model, [batch]))
    after = [np.float64(value) for value in model.get_weights()]
    # The second moment is 0 where the square is: below 2**-67 it underflows bfloat16.
    for old, new, gradient in zip(before, after, gradients, strict=True):
        np.testing.assert_array_equal(np.isnan(new), gradient == 0)
        np.testing.assert_array_equal(new[gradient != 0], old[gradient != 0])
    assert any((gradient == 0).any() for gradient in gradients)
    assert any((gradient != 0).any() for gradient in gradients)
