"""The loss-scale model, by itself and beside Keras' LossScaleOptimizer.

Where Keras leaves the model (see docs/known-defects.md) the state machine's
preconditions keep away; tests/known_defects/test_loss_scale.py goes there.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support.loss_scale_model import (
    MAX_EXPONENT,
    MIN_EXPONENT,
    LossScale,
    keras_agrees,
    steps_until_applied,
    update,
)

# ---------------------------------------------------------------- the model by itself

states = st.builds(
    LossScale,
    exponent=st.integers(MIN_EXPONENT, MAX_EXPONENT),
    counter=st.integers(0, 30),
    iterations=st.integers(0, 10**9),
    growth_steps=st.integers(1, 30),
)


@given(states, st.lists(st.booleans(), max_size=300))
def test_the_scale_is_always_a_positive_finite_float32_power_of_two(
    state: LossScale, steps: list[bool]
) -> None:
    for finite in steps:
        state = update(state, finite)
        assert 0.0 < state.scale < math.inf
        assert math.frexp(state.scale)[0] == 0.5
        assert float(np.float32(state.scale)) == state.scale


@given(states)
def test_a_skipped_step_halves_the_scale_and_leaves_the_iterations(state: LossScale) -> None:
    after = update(state, gradients_finite=False)
    assert after.exponent == max(state.exponent - 1, MIN_EXPONENT)
    assert (after.counter, after.iterations) == (0, state.iterations)


@given(states)
def test_an_applied_step_counts_one_iteration_and_never_lowers_the_scale(state: LossScale) -> None:
    after = update(state, gradients_finite=True)
    assert after.iterations == state.iterations + 1
    assert state.exponent <= after.exponent <= state.exponent + 1
    assert after.counter in (0, state.counter + 1)


@given(states)
def test_the_scale_grows_within_the_growth_setting_from_every_state(state: LossScale) -> None:
    before = state.exponent
    for _ in range(state.growth_steps):
        state = update(state, gradients_finite=True)
    # More than once, if the counter was at or above the setting to begin with.
    assert state.exponent >= min(before + 1, MAX_EXPONENT)


@given(states, st.integers(MIN_EXPONENT, MAX_EXPONENT))
def test_a_tame_gradient_is_applied_within_the_promised_number_of_steps(
    state: LossScale, tame_exponent: int
) -> None:
    promised = steps_until_applied(state, tame_exponent)
    before = state.iterations
    for _ in range(promised):
        assert state.iterations == before
        state = update(state, gradients_finite=state.exponent <= tame_exponent)
    assert state.exponent <= tame_exponent
    assert update(state, gradients_finite=True).iterations == before + 1


def test_a_gradient_that_overflows_at_every_scale_is_refused() -> None:
    with pytest.raises(ValueError, match=r"finite only up to 2\*\*-127"):
        steps_until_applied(LossScale(), MIN_EXPONENT - 1)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"exponent": 128}, "exponent 128 must be within -126 to 127"),
        ({"exponent": -127}, "exponent -127 must be within -126 to 127"),
        ({"exponent": 5, "max_exponent": 4}, "exponent 5 must be within -126 to 4"),
        ({"min_exponent": -127}, "powers of two of float32"),
        ({"min_exponent": 3, "max_exponent": 2}, "must be in order"),
        ({"counter": -1}, "counter -1 must not be negative"),
        ({"iterations": -1}, "iterations -1 must not be negative"),
        ({"growth_steps": 0}, "growth_steps 0 must be at least 1"),
    ],
)
def test_a_state_outside_of_its_range_is_refused(arguments: dict[str, int], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        LossScale(**arguments)


def test_all_faults_of_a_state_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"counter -1 .*; growth_steps 0 "):
        LossScale(counter=-1, growth_steps=0)


def test_the_limits_of_the_range_are_accepted() -> None:
    assert LossScale(exponent=MIN_EXPONENT).scale == 2.0**-126
    assert LossScale(exponent=MAX_EXPONENT).scale == 2.0**127


def test_a_hand_computed_history() -> None:
    state = LossScale(exponent=15, growth_steps=3)
    history = []
    for finite in (True, True, True, True, False, True, False, True, True, True):
        state = update(state, finite)
        history.append((state.exponent, state.counter, state.iterations))
    assert history == [
        (15, 1, 1),
        (15, 2, 2),
        (16, 0, 3),
        (16, 1, 4),
        (15, 0, 4),
        (15, 1, 5),
        (14, 0, 5),
        (14, 1, 6),
        (14, 2, 7),
        (15, 0, 8),
    ]


# ---------------------------------------------------------------- beside Keras

MODES = ("eager", "graph", "xla")
GROWTHS = (1, 4)  # a traced step keeps its growth setting, so each value is one more trace
START = (np.array([1.0, -2.0, 0.5], "float32"), np.array([[0.25, 3.0]], "float32"))
U = 2.0**-24  # unit roundoff of float32

# Scaled gradients must neither overflow nor become subnormal: |g| is 0 or within
# [2**-3, 2**2], and Adam squares the unscaled gradient only.
LOWEST, HIGHEST = MIN_EXPONENT + 4, MAX_EXPONENT - 4

INNER: dict[str, Callable[[], keras.Optimizer]] = {
    # Rates of one half keep the powers in Adam's bias correction exact.
    "Adam": lambda: keras.optimizers.Adam(0.125, beta_1=0.5, beta_2=0.5),
    "SGD": lambda: keras.optimizers.SGD(0.125, momentum=0.5),
}

elements = st.one_of(
    st.just(0.0),
    st.builds(lambda k, sign: sign * k / 8, st.integers(1, 32), st.sampled_from([-1, 1])),
)
gradients = st.lists(elements, min_size=5, max_size=5)


def split(flat: Sequence[float]) -> list[np.ndarray]:
    """Five numbers in the shapes of the two variables."""
    values = np.array(flat, "float32")
    return [values[:3], values[3:].reshape(1, 2)]


class Rig:
    """Keras' scaled optimizer in one mode, and a plain inner optimizer as its twin.

    Rigs are cached, because tracing and compiling a step takes longer than many
    examples. `reset` brings one back to its first state.
    """

    def __init__(self, inner: str, mode: str) -> None:
        self.mode = mode
        self.weights = [keras.Variable(value) for value in START]
        self.scaled = keras.optimizers.LossScaleOptimizer(INNER[inner]())
        self.scaled.build(self.weights)
        self.twin_weights = [keras.Variable(value) for value in START]
        self.twin = INNER[inner]()
        self.twin.build(self.twin_weights)
        self._steps: dict[tuple[int, int | None], Callable[..., None]] = {}

    def reset(self, exponent: int) -> None:
        for variable, value in zip(self.weights, START, strict=True):
            variable.assign(value)
        for slot in self._slots(self.scaled.inner_optimizer):
            slot.assign(np.zeros(slot.shape, slot.dtype))
        self.scaled.step_counter.assign(0)
        self.scaled.dynamic_scale.assign(2.0**exponent)

    @staticmethod
    def _slots(inner: keras.Optimizer) -> list[keras.Variable]:
        """Iterations and slots: everything but the learning rate."""
        return [variable for variable in inner.variables if variable.name != "learning_rate"]

    def state(self) -> list[np.ndarray]:
        """Weights, iterations and slots, all that a skipped step must leave alone."""
        return [v.numpy() for v in (*self.weights, *self._slots(self.scaled.inner_optimizer))]

    def twin_state(self) -> list[np.ndarray]:
        return [v.numpy() for v in (*self.twin_weights, *self._slots(self.twin))]

    def synchronize_twin(self) -> None:
        twins = [*self.twin_weights, *self._slots(self.twin)]
        for variable, value in zip(twins, self.state(), strict=True):
            variable.assign(value)

    def apply(
        self, growth_steps: int, scaled_gradients: list[np.ndarray], absent: int | None = None
    ) -> None:
        """One step; the gradient of the variable `absent` is None."""
        self.scaled.dynamic_growth_steps = growth_steps
        key = (growth_steps, absent)
        if key not in self._steps:

            def step(*tensors: tf.Tensor) -> None:
                present = iter(tensors)
                count = len(self.weights)
                self.scaled.apply([None if i == absent else next(present) for i in range(count)])

            self._steps[key] = (
                step if self.mode == "eager" else tf.function(step, jit_compile=self.mode == "xla")
            )
        given = [g for i, g in enumerate(scaled_gradients) if i != absent]
        self._steps[key](*(tf.constant(g) for g in given))

    def apply_twin(self, true_gradients: list[np.ndarray], absent: int | None = None) -> None:
        self.twin.apply(
            [None if i == absent else tf.constant(g) for i, g in enumerate(true_gradients)]
        )


@functools.cache
def cached_rig(inner: str, mode: str) -> Rig:
    return Rig(inner, mode)


def same_bits(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


# Keras drops a variable without a gradient from the step, and says so in a warning.
ABSENT = "ignore:Gradients do not exist for variables:UserWarning"


class LossScaleMachine(RuleBasedStateMachine):
    """Steps the model and Keras side by side and compares all that either can see."""

    @initialize(
        inner=st.sampled_from(sorted(INNER)),
        mode=st.sampled_from(MODES),
        exponent=st.one_of(st.just(15), st.integers(LOWEST, HIGHEST)),
        growth_steps=st.sampled_from(GROWTHS),
    )
    def start(self, inner: str, mode: str, exponent: int, growth_steps: int) -> None:
        self.rig = cached_rig(inner, mode)
        self.rig.reset(exponent)
        self.model = LossScale(exponent=exponent, growth_steps=growth_steps)
        self.saved: tuple[LossScale, dict[str, np.ndarray], list[np.ndarray]] | None = None

    def agrees(self, finite: bool) -> bool:
        """Whether Keras is not known to be broken here, nor the numbers too extreme."""
        room = self.model.exponent < HIGHEST if finite else self.model.exponent > LOWEST
        return room and keras_agrees(self.model, finite)

    def apply_finite(self, flat: Sequence[float], absent: int | None = None) -> None:
        true_gradients = split(flat)
        self.rig.synchronize_twin()
        self.rig.apply_twin(true_gradients, absent)
        scale = np.float32(self.model.scale)
        self.rig.apply(self.model.growth_steps, [g * scale for g in true_gradients], absent)
        self.model = update(self.model, gradients_finite=True)
        self.check_against_twin()

    def check_against_twin(self) -> None:
        """Scaling by a power of two and unscaling changes nothing.

        Eager and graph steps run the same kernels as the twin, so they agree bit for bit.
        XLA may fuse multiplications and additions and reorder factors. Adam's update
        takes fewer than 20 roundings of factors that are exact at rates of one half,
        each at most u, and no subtraction of nearly equal numbers is longer than one
        operation: 1 - 0.5**t is exact, and m and v gain (g - m)/2 and (g² - v)/2. The
        size of a term is at most that of gradients (4), squares (16) or weights, hence
        32u times the larger of 16 and the value itself.
        """
        actual, expected = self.rig.state(), self.rig.twin_state()
        if self.rig.mode != "xla":
            assert same_bits(actual, expected)
            return
        for a, b in zip(actual, expected, strict=True):
            assert np.all(np.abs(a - b) <= 32 * U * np.maximum(16.0, np.abs(b)))

    @precondition(lambda self: self.agrees(finite=True))
    @rule(flat=gradients)
    def finite_gradients(self, flat: list[float]) -> None:
        self.apply_finite(flat)

    @precondition(lambda self: self.agrees(finite=True))
    @rule()
    def zero_gradients(self) -> None:
        self.apply_finite([0.0] * 5)

    @precondition(lambda self: self.agrees(finite=True))
    @rule(flat=gradients)
    def absent_gradient(self, flat: list[float]) -> None:
        before = self.rig.state()
        self.apply_finite(flat, absent=1)
        assert same_bits(before[1:2], self.rig.state()[1:2])

    @precondition(lambda self: self.agrees(finite=False))
    @rule(
        flat=gradients,
        where=st.integers(0, 4),
        worst=st.sampled_from([math.nan, math.inf, -math.inf]),
    )
    def non_finite_gradient(self, flat: list[float], where: int, worst: float) -> None:
        flat[where] = worst
        before = self.rig.state()
        self.rig.apply(self.model.growth_steps, split(flat))
        self.model = update(self.model, gradients_finite=False)
        assert same_bits(before, self.rig.state())

    @precondition(lambda self: self.agrees(finite=False))
    @rule(worst=st.sampled_from([math.nan, math.inf, -math.inf]))
    def non_finite_beside_an_absent_gradient(self, worst: float) -> None:
        before = self.rig.state()
        self.rig.apply(self.model.growth_steps, split([1.0, worst, 1.0, 0.0, 0.0]), absent=1)
        self.model = update(self.model, gradients_finite=False)
        assert same_bits(before, self.rig.state())

    @precondition(lambda self: self.model.exponent <= 30)
    @rule(flat=gradients)
    def float16_gradient_until_applied(self, flat: list[float]) -> None:
        """Liveness: 4·2**13 is finite in float16, and 4·2**14 is not."""
        tame = 13
        flat[0] = 4.0
        promised = steps_until_applied(self.model, tame)
        for _ in range(promised):
            with np.errstate(over="ignore"):
                scaled = [(g * self.model.scale).astype("float16") for g in split(flat)]
            before = self.rig.state()
            self.rig.apply(self.model.growth_steps, [g.astype("float32") for g in scaled])
            self.model = update(self.model, gradients_finite=False)
            assert same_bits(before, self.rig.state())
        if self.agrees(finite=True):
            self.apply_finite(flat)

    @rule(growth_steps=st.sampled_from(GROWTHS))
    def change_growth_setting(self, growth_steps: int) -> None:
        if growth_steps > self.model.counter:  # below, Keras never grows again
            self.model = self.model.with_growth_steps(growth_steps)

    @rule()
    def save(self) -> None:
        store: dict[str, np.ndarray] = {}
        self.rig.scaled.save_own_variables(store)
        self.saved = (self.model, store, self.rig.state()[:2])

    @precondition(lambda self: self.saved is not None)
    @rule()
    def restore(self) -> None:
        assert self.saved is not None
        self.model, store, weights = self.saved
        self.rig.scaled.load_own_variables(store)
        for variable, value in zip(self.rig.weights, weights, strict=True):
            variable.assign(value)

    @invariant()
    def keras_is_in_the_state_of_the_model(self) -> None:
        if not hasattr(self, "rig"):
            return
        scale = self.rig.scaled.dynamic_scale.numpy()
        assert scale.tobytes() == np.float32(self.model.scale).tobytes()
        assert int(self.rig.scaled.step_counter.numpy()) == self.model.counter
        assert int(self.rig.scaled.iterations.numpy()) == self.model.iterations

    @invariant()
    def the_weights_are_finite(self) -> None:
        if hasattr(self, "rig"):
            assert all(np.isfinite(value).all() for value in self.rig.state())


@pytest.mark.filterwarnings(
    # The absent gradient is deliberate.
    ABSENT,
    # Keras 3.15 saves with np.array(variable), and TensorFlow's __array__ does not know
    # the `copy` argument that NumPy 2 passes.
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
)
def test_keras_takes_the_steps_of_the_model() -> None:
    # An example is a whole sequence of steps, so a quarter of the profile's number does;
    # the first of each mode pays for tracing and compiling.
    run_state_machine_as_test(
        LossScaleMachine,
        settings=settings(
            max_examples=max(1, settings.default.max_examples // 4),
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("exponent", [15, 60, HIGHEST])
def test_keras_applies_a_tame_gradient_in_the_promised_number_of_steps(
    mode: str, exponent: int
) -> None:
    rig = cached_rig("SGD", mode)
    rig.reset(exponent)
    state = LossScale(exponent=exponent, growth_steps=4)
    promised = steps_until_applied(state, tame_exponent=13)
    for done in range(promised + 1):
        with np.errstate(over="ignore"):
            scaled = (np.full(5, 4.0) * 2.0 ** (exponent - done)).astype("float16")
        before = rig.state()
        rig.apply(4, split(scaled.astype("float32")))
        assert same_bits(before, rig.state()) == (done < promised)
    assert int(rig.scaled.iterations.numpy()) == 1


@pytest.mark.parametrize("mode", MODES)
def test_every_element_of_every_gradient_is_looked_at(mode: str) -> None:
    """The rejecting twin of an applied step, exhaustively instead of at random."""
    rig = cached_rig("SGD", mode)
    applied = []
    for where in range(5):
        for worst in (math.nan, math.inf, -math.inf):
            rig.reset(15)
            flat = [1.0] * 5
            flat[where] = worst
            rig.apply(4, split(flat))
            if int(rig.scaled.iterations.numpy()):
                applied.append((where, worst))
    assert applied == []


def test_the_machine_notices_a_scaler_that_does_not_unscale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rejecting twin of the state machine: a scaler broken in one line."""

    def apply_without_unscaling(
        self: keras.optimizers.LossScaleOptimizer,
        grads: list[tf.Tensor],
        trainable_variables: list[keras.Variable] | None = None,
    ) -> None:
        self.inner_optimizer.apply(grads, trainable_variables)
        self.step_counter.assign_add(1)

    monkeypatch.setattr(
        keras.optimizers.LossScaleOptimizer,
        "_stateful_handle_finite_grads",
        apply_without_unscaling,
    )
    machine = LossScaleMachine()
    machine.rig = Rig("SGD", "eager")
    machine.model = LossScale(growth_steps=4)
    machine.rig.reset(15)
    with pytest.raises(AssertionError):
        machine.apply_finite([1.0] * 5)


# ---------------------------------------------------------------- the workload that needs it

FACTOR = 2.0**-24
BATCH, CLASSES, FEATURES = 64, 4, 16


def blobs() -> tuple[tf.Tensor, tf.Tensor]:
    """256 points around 4 corners, 8 standard deviations apart: linearly separable."""
    rng = np.random.default_rng(7)
    labels = np.arange(256) % CLASSES
    centres = 4.0 * np.eye(CLASSES, FEATURES)
    points = centres[labels] * 2.0**0.5 + rng.normal(size=(256, FEATURES))
    return tf.constant(points, tf.float32), tf.constant(labels, tf.int32)


def weights_of(model: keras.Model) -> list[np.ndarray]:
    return [variable.numpy() for variable in model.trainable_variables]


def train(
    optimizer: keras.Optimizer,
    *,
    factor: float = FACTOR,
    scales: bool = True,
    unscales: bool = True,
    policy: str = "mixed_float16",
) -> tuple[float, bool, bool]:
    """Trains a small dense network on ``factor * loss``, 60 steps.

    Args:
        optimizer: Steps the float32 weights.
        factor: What the loss is multiplied with, on top of the loss scale.
        scales: Whether the loss is handed to `optimizer.scale_loss`.
        unscales: Whether gradients go through the LossScaleOptimizer or, scaled as they
            are, straight to the optimizer inside it.
        policy: Dtype policy of the layers.

    Returns:
        The accuracy on the training points, whether any weight changed bitwise, and
        whether all weights are finite.
    """
    keras.utils.set_random_seed(3)
    points, labels = blobs()
    model = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.Dense(16, activation="relu", dtype=policy),
            keras.layers.Dense(CLASSES, dtype=policy),
        ]
    )
    optimizer.build(model.trainable_variables)
    stepper = optimizer if unscales else optimizer.inner_optimizer

    @tf.function
    def step(x: tf.Tensor, y: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = tf.cast(model(x), tf.float32)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
            loss = factor * tf.reduce_mean(losses)
            if scales:
                loss = optimizer.scale_loss(loss)
        variables = [variable.value for variable in model.trainable_variables]
        stepper.apply(tape.gradient(loss, variables))

    before = weights_of(model)
    for index in range(60):
        start = index * BATCH % 256
        step(points[start : start + BATCH], labels[start : start + BATCH])
    after = weights_of(model)
    predicted = tf.argmax(model(points), axis=1, output_type=tf.int32)
    accuracy = float(tf.reduce_mean(tf.cast(predicted == labels, tf.float32)))
    finite = all(np.isfinite(value).all() for value in after)
    return accuracy, not same_bits(before, after), finite


def sgd(factor: float = FACTOR) -> keras.Optimizer:
    """SGD with the rate that undoes `factor`, so that in real arithmetic nothing differs."""
    return keras.optimizers.SGD(0.125 / factor)


def scaled_sgd(growth_steps: int = 5) -> keras.Optimizer:
    return keras.optimizers.LossScaleOptimizer(sgd(), dynamic_growth_steps=growth_steps)


# The gradient of the mean loss by a logit is at most 1/BATCH = 2**-6; times 2**-24 it is
# at most 2**-30, and float16 rounds all below 2**-25 to zero. So without scaling the
# weights cannot change by a single bit: no margin has to be chosen. From the initial
# scale of 2**15 on the gradients are at most 2**-15, a number that float16 holds, and 12
# growths in 60 steps bring them up to 2**-3.
# Chance is 1/4. The blobs are separable, so the network that learns must come close to 1.
LEARNED = 0.95


def test_the_workload_learns_with_loss_scaling() -> None:
    accuracy, changed, finite = train(scaled_sgd())
    assert changed
    assert finite
    assert accuracy >= LEARNED


def test_the_workload_learns_in_float32_without_scaling() -> None:
    accuracy, _, _ = train(sgd(), scales=False, policy="float32")
    assert accuracy >= LEARNED


def test_the_workload_does_not_change_a_bit_without_loss_scaling() -> None:
    accuracy, changed, _ = train(sgd(), scales=False)
    assert not changed
    assert accuracy < LEARNED


def test_the_workload_does_not_change_a_bit_if_the_loss_is_never_scaled() -> None:
    accuracy, changed, _ = train(scaled_sgd(), scales=False)
    assert not changed
    assert accuracy < LEARNED


def test_the_workload_is_destroyed_if_gradients_are_not_unscaled() -> None:
    # Steps 2**15 times too large put the logits beyond 65504, the largest float16.
    accuracy, _, finite = train(scaled_sgd(), unscales=False)
    assert not finite
    assert accuracy < LEARNED


def test_an_ordinary_workload_learns_without_loss_scaling() -> None:
    """Why the factor is there: without it a broken scaler would be invisible."""
    accuracy, _, _ = train(sgd(factor=1.0), factor=1.0, scales=False)
    assert accuracy >= LEARNED
