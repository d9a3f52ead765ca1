"""The localiser: it names the place of a planted fault, and the cause of the real failures."""

import dataclasses
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnprec.diagnosis.causes import diagnose
from cnnprec.diagnosis.replay import replay
from cnnprec.diagnosis.sighting import Cause, Phase, Sighting, StepReport
from cnnprec.precision.precisions import PRECISIONS
from cnnprec.training.model import build_model, initial_weights
from tests.training.test_trainer import TRAINABLE

LAYERS = ["pixels", "conv1", "pool1", "conv2", "pool2", "conv3", "flatten", "dense1", "dense2"]
WEIGHTED = ["conv1", "conv2", "conv3", "dense1", "dense2"]
KINDS = ["nan", "inf", "-inf", "huge"]
LARGEST = {"float16": 65504.0, "bfloat16": 3.3895e38, "float32": 3.4028e38, "float64": 1.7976e308}


def value_of(kind: str, dtype: str) -> float:
    # 0.75 of the largest number: finite, and within the factor of two that counts as huge.
    return 0.75 * LARGEST[dtype] if kind == "huge" else float(kind)


@pytest.fixture(scope="module")
def models():
    """One model per precision; each test puts its weights back."""
    return {name: build_model(precision) for name, precision in PRECISIONS.items()}


@pytest.fixture(scope="module")
def starts(models):
    return {name: [v.numpy() for v in model.optimizer.variables] for name, model in models.items()}


@pytest.fixture(scope="module")
def weights(models):
    """Drawn once: drawing them takes as long as a step."""
    return {name: initial_weights(model, seed=12) for name, model in models.items()}


@pytest.fixture
def fresh(models, starts, weights):
    def reset(name: str) -> keras.Sequential:
        model = models[name]
        for variable, value in zip(model.trainable_variables, weights[name], strict=True):
            variable.assign(value)
        for variable, value in zip(model.optimizer.variables, starts[name], strict=True):
            variable.assign(value)
        if PRECISIONS[name].loss_scaling:
            # Far below the scale at which healthy gradients of these images overflow.
            model.optimizer.dynamic_scale.assign(256)
        return model

    return reset


def batches(tiny_data, steps: int, size: int = 4):
    for step in range(steps):
        part = slice(step * size, step * size + size)
        yield tf.constant(tiny_data.train_images[part]), tf.constant(tiny_data.train_labels[part])


def set_element(tensor, element: int, value: float):
    flat = tf.reshape(tensor, [-1])
    place = [[element % int(flat.shape[0])]]
    return tf.reshape(
        tf.tensor_scatter_nd_update(flat, place, tf.constant([value], tensor.dtype)), tensor.shape
    )


class Plant:
    """Puts a value into one element of one tensor of one step of a model."""

    def __init__(self, model, step: int, layer: str, tensor: str, element: int, value: float):
        self._model = model
        self._step = step
        self._layer = layer
        self._tensor = tensor
        self._element = element
        self._value = value
        self._now = -1
        self._undo = []

    def __enter__(self):
        if self._tensor == "activation":
            self._wrap(self._model.get_layer(self._layer), self._after)
        elif self._tensor == "activation gradient":
            follower = self._model.layers[LAYERS.index(self._layer) + 1]
            self._wrap(follower, self._before)
        return self

    def __exit__(self, *_):
        for layer in self._undo:
            del layer.call

    def count(self, some_batches):
        """Passes batches on, and plants into the state right before its step."""
        for step, batch in enumerate(some_batches):
            self._now = step
            if step == self._step and self._tensor in ("kernel", "bias", "kernel velocity"):
                variable = self._variable()
                variable.assign(set_element(variable.value, self._element, self._value))
            yield batch

    def _variable(self):
        layer = self._model.get_layer(self._layer)
        if self._tensor in ("kernel", "bias"):
            return next(v for v in layer.weights if v.name == self._tensor)
        return next(
            v for v in self._model.optimizer.variables if f"{self._layer}_kernel_velocity" in v.name
        )

    def _wrap(self, layer, change):
        original = layer.call
        layer.call = lambda inputs: change(original, inputs)
        self._undo.append(layer)

    def _after(self, call, inputs):
        outputs = call(inputs)
        if self._now != self._step:
            return outputs
        return set_element(outputs, self._element, self._value)

    def _before(self, call, inputs):
        @tf.custom_gradient
        def planted(tensor):
            return tf.identity(tensor), lambda up: set_element(up, self._element, self._value)

        return call(planted(inputs) if self._now == self._step else inputs)


def first_sighting(reports) -> Sighting | None:
    for report in reports:
        if report.bad:
            return report.bad[0]
    return None


PLACES = st.one_of(
    st.tuples(st.sampled_from(LAYERS), st.just("activation")),
    # Behind dense2 comes the loss, which is no layer; before it the images, which are integers.
    st.tuples(st.sampled_from(LAYERS[1:-1]), st.just("activation gradient")),
    st.tuples(st.sampled_from(WEIGHTED), st.sampled_from(["kernel", "bias", "kernel velocity"])),
)


def apply_in_a_graph(model, monkeypatch):
    """Lets the optimizer run as it does in training; eagerly it takes half of a step's time."""
    apply, variables = model.optimizer.apply_gradients, model.trainable_variables
    graph = tf.function(lambda gradients: apply(zip(gradients, variables, strict=True)))
    monkeypatch.setattr(
        model.optimizer, "apply_gradients", lambda pairs: graph([g for g, _ in pairs])
    )


# 34 examples in each of 6 precisions: 204 plants.
@pytest.mark.parametrize("name", TRAINABLE)
def test_plant_is_named_by_step_layer_and_tensor(name, fresh, models, tiny_data, monkeypatch):
    apply_in_a_graph(models[name], monkeypatch)

    @settings(max_examples=max(34, settings().max_examples // 10))
    @given(
        place=PLACES,
        step=st.integers(0, 1),
        element=st.integers(0, 10**6),
        kind=st.sampled_from(KINDS),
    )
    def check(place, step, element, kind):
        layer, tensor = place
        model = fresh(name)
        precision = PRECISIONS[name]
        in_state = tensor in ("kernel", "bias", "kernel velocity")
        dtype = precision.variable_dtype if in_state else precision.compute_dtype
        value = value_of(kind, dtype)
        with Plant(model, step, layer, tensor, element, value) as plant:
            found = first_sighting(replay(model, plant.count(batches(tiny_data, 2, size=2))))
        if found is None:
            # The one plant that may leave no trace: a huge scaled gradient that stays
            # finite all the way, which is what loss scaling aims at.
            assert precision.loss_scaling
            assert (tensor, kind) == ("activation gradient", "huge")
            return
        assert (found.step, found.layer, found.tensor) == (step, layer, tensor)
        assert found.nan == (kind == "nan")
        assert found.infinite == (kind in ("inf", "-inf"))
        assert found.huge == (kind == "huge")

    check()


@pytest.mark.parametrize("name", TRAINABLE)
def test_healthy_training_shows_nothing(name, fresh, tiny_data):
    reports = list(replay(fresh(name), batches(tiny_data, 4)))
    assert [report.bad for report in reports] == [()] * 4
    assert diagnose(reports).cause is None
    assert str(diagnose(reports)) == "nothing is wrong"
    assert all(report.moved > 0 for report in reports)
    assert not any(report.blew_up or report.frozen for report in reports)


def test_half_is_known_to_blow_up_at_step_0_before_anything_is_not_finite(fresh, tiny_data):
    (report,) = replay(fresh("half"), batches(tiny_data, 1))
    assert report.blew_up
    assert report.bad == ()
    assert diagnose([report]).cause is Cause.SECOND_MOMENT_UNDERFLOW


def test_bfloat16_is_known_to_freeze_at_step_0_by_its_beta_2(fresh, tiny_data):
    (report,) = replay(fresh("bfloat16"), batches(tiny_data, 1))
    assert report.frozen
    assert report.bad == ()
    assert [finding.hyper_parameter for finding in report.freezing] == ["beta_2"]
    diagnosis = diagnose([report])
    assert diagnosis.cause is Cause.HYPERPARAMETER
    assert diagnosis.first is None
    assert str(diagnosis).endswith(
        "% of the weights have a gradient at step 0, and not one of them changed; "
        "beta_2=0.999 is 1 in bfloat16, so every update is zero"
    )


@pytest.mark.parametrize(
    ("rate", "cause"),
    [
        # Half of float16's smallest subnormal is 2**-25, about 3e-8; below it lies zero.
        (1e-8, Cause.HYPERPARAMETER),
        (0.0, Cause.UPDATES_VANISH),
    ],
)
def test_freeze_by_the_learning_rate_tells_a_lost_one_from_a_zero(rate, cause, fresh, tiny_data):
    model = fresh("half_stable")
    usual = float(model.optimizer.learning_rate)
    model.optimizer.learning_rate = rate
    try:
        diagnosis = diagnose(replay(model, batches(tiny_data, 2)))
    finally:
        model.optimizer.learning_rate = usual
    assert diagnosis.cause is cause
    assert ("learning_rate=1e-08 is 0 in float16" in str(diagnosis)) is (rate > 0)


def test_freeze_by_tiny_gradients_is_not_laid_to_a_hyperparameter(fresh, tiny_data, monkeypatch):
    model = fresh("bfloat16_stable")
    for variable in model.trainable_variables:
        sign = np.where(variable.numpy().astype(np.float32) < 0, -1.0, 1.0)
        variable.assign(sign / 8)
    # Weights of 1/8 are 2**-11 apart. An update is at most the learning rate, 2**-10 or
    # less, times g / epsilon. Scaled so, a gradient of 2**20 would not reach epsilon's 2**-24.
    loss = model.loss
    monkeypatch.setattr(model, "loss", lambda labels, out: loss(labels, out) * 2.0**-50)
    diagnosis = diagnose(replay(model, batches(tiny_data, 2)))
    assert diagnosis.cause is Cause.UPDATES_VANISH
    assert "so every update is zero" not in str(diagnosis)


def test_diagnosis_of_half_tells_the_root_and_the_first_bad_tensor(fresh, tiny_data):
    diagnosis = diagnose(replay(fresh("half"), batches(tiny_data, 12)))
    assert diagnosis.cause is Cause.SECOND_MOMENT_UNDERFLOW
    assert diagnosis.first is not None
    assert diagnosis.first.step > 0
    text = str(diagnosis)
    assert "second moment underflowed in" in text
    assert "times Adam's bound" in text
    assert f"step {diagnosis.first.step}" in text


@pytest.mark.parametrize("kind", ["nan", "inf"])
def test_overflow_that_the_scaler_handles_is_never_called_fatal(fresh, tiny_data, kind):
    model = fresh("mixed_half")
    # Not conv2: the max pooling behind it drops a NaN.
    with Plant(model, 1, "conv3", "activation", 5, float(kind)) as plant:
        reports = list(replay(model, plant.count(batches(tiny_data, 4))))
    assert [report.skipped for report in reports] == [False, True, False, False]
    diagnosis = diagnose(reports)
    assert diagnosis.cause is None
    assert diagnosis.first is None
    assert (diagnosis.handled[0].step, diagnosis.handled[0].layer) == (1, "conv3")
    assert diagnosis.handled[0].cause is Cause.HANDLED


def test_the_same_overflow_without_a_scaler_is_fatal(fresh, tiny_data):
    model = fresh("half_stable")
    with Plant(model, 1, "conv2", "activation", 5, math.inf) as plant:
        diagnosis = diagnose(replay(model, plant.count(batches(tiny_data, 4))))
    assert diagnosis.first is not None
    assert diagnosis.cause is Cause.OVERFLOW
    assert diagnosis.handled == ()


def test_weight_broken_under_a_scaler_is_found_though_every_step_is_skipped(fresh, tiny_data):
    model = fresh("mixed_half")
    with Plant(model, 1, "dense1", "kernel", 3, math.nan) as plant:
        reports = list(replay(model, plant.count(batches(tiny_data, 3))))
    assert reports[1].bad[0].phase is Phase.STATE
    assert (reports[1].bad[0].layer, reports[1].bad[0].tensor) == ("dense1", "kernel")
    assert reports[1].skipped
    assert diagnose(reports).first == reports[1].bad[0]
    assert diagnose(reports).cause is Cause.OUTSIDE


@pytest.mark.parametrize(
    ("tensor", "kind"),
    # An infinite second moment makes every update of its layer zero, which is no freeze.
    [("kernel", "nan"), ("kernel", "inf"), ("kernel velocity", "nan"), ("kernel velocity", "inf")],
)
def test_bad_state_before_the_step_came_in_from_outside(tensor, kind, fresh, tiny_data):
    model = fresh("single")
    with Plant(model, 0, "dense1", tensor, 7, float(kind)) as plant:
        diagnosis = diagnose(replay(model, plant.count(batches(tiny_data, 2))))
    assert diagnosis.cause is Cause.OUTSIDE
    assert diagnosis.first.phase is Phase.STATE
    assert (diagnosis.first.layer, diagnosis.first.tensor) == ("dense1", tensor)


def test_nan_that_arises_within_the_step_did_not_come_from_outside(fresh, tiny_data):
    model = fresh("single")
    with Plant(model, 0, "dense1", "activation", 7, math.nan) as plant:
        diagnosis = diagnose(replay(model, plant.count(batches(tiny_data, 2))))
    assert diagnosis.cause is Cause.INVALID


def test_run_whose_every_step_is_skipped_says_so(fresh, tiny_data):
    model = fresh("mixed_half")
    # At this scale the scaled loss itself is infinite, and ten halvings change nothing.
    model.optimizer.dynamic_scale.assign(2.0**127)
    reports = list(replay(model, batches(tiny_data, 3)))
    assert [report.skipped for report in reports] == [True] * 3
    diagnosis = diagnose(reports)
    assert diagnosis.cause is Cause.ALWAYS_SKIPPED
    assert diagnosis.first is None
    assert str(diagnosis).startswith(
        "the loss scaler skipped every step of 3; first bad tensor: step 0, gradient: "
    )


def test_run_with_one_applied_step_was_not_always_skipped():
    skipped = dataclasses.replace(REPORT, skipped=True, moved=0.0)
    assert diagnose([skipped, skipped]).cause is Cause.ALWAYS_SKIPPED
    assert diagnose([skipped, REPORT, skipped]).cause is None
    assert diagnose([]).cause is None


REPORT = StepReport(0, (), False, 0.0, 1.0, 1.0, 1.0)


def test_update_up_to_twice_the_bound_is_rounding_and_beyond_it_is_not():
    assert not dataclasses.replace(REPORT, largest_update=2.0).blew_up
    assert dataclasses.replace(REPORT, largest_update=2.1).blew_up
    assert not dataclasses.replace(REPORT, largest_update=None).blew_up


def test_skipped_step_is_not_a_freeze():
    still = dataclasses.replace(REPORT, moved=0.0)
    assert still.frozen
    assert not dataclasses.replace(still, skipped=True).frozen
    assert not dataclasses.replace(still, should_move=0.0).frozen


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((0, 28, 28, 1), np.uint8), np.zeros(0, np.uint8), "the batch is empty"),
        (np.zeros((1, 28, 28, 1), np.uint8), np.array([10]), "labels run from 10 to 10.*0 to 9"),
        (np.zeros((1, 28, 28, 1), np.uint8), np.array([-1]), "labels run from -1 to -1"),
        (np.full((1, 28, 28, 1), np.nan, np.float32), np.array([1]), "784 of 784 pixels"),
        (tf.fill((1, 28, 28, 1), tf.constant(np.inf, tf.bfloat16)), np.array([1]), "784 of 784"),
        (np.zeros((2, 28, 28, 1), np.uint8), np.array([1]), r"int64 of shape \[1\].*2 images"),
        (np.zeros((1, 28, 28, 1), np.uint8), np.array([1.5]), r"float64 of shape \[1\]"),
    ],
    ids=["empty", "label 10", "label -1", "NaN pixels", "bfloat16", "too few", "no integer"],
)
def test_bad_batches_are_refused_before_they_are_trained_on(fresh, images, labels, message):
    model = fresh("single")
    before = [w.copy() for w in model.get_weights()]
    with pytest.raises(ValueError, match=message):
        list(replay(model, [(images, labels)]))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_batch_of_finite_float_images_and_labels_at_both_ends_is_accepted(fresh):
    images, labels = np.full((2, 28, 28, 1), 255.0, np.float32), np.array([0, 9])
    (report,) = replay(fresh("single"), [(images, labels)])
    assert report.bad == ()


def dense_model(first="float32", second="float32", build=True, **compiling) -> keras.Sequential:
    """Takes three numbers; a tenth of the time that the CNN takes to build."""
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, dtype=first),
            keras.layers.Dense(2, dtype=second),
            keras.layers.Softmax(dtype="float32"),
        ]
    )
    if compiling:
        model.compile(auto_scale_loss=False, **compiling)
        if build:
            model.optimizer.build(model.trainable_variables)
    return model


LOSS = keras.losses.SparseCategoricalCrossentropy()


def scaler(inner):
    return keras.mixed_precision.LossScaleOptimizer(inner)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"not compiled; call its compile\(\)"),
        ({"optimizer": "adam", "loss": LOSS, "build": False}, r"no slots yet; call model\.optim"),
        (
            {"optimizer": "adam", "loss": LOSS, "first": "float16"},
            r"2 dtype policies \(float16 weights computed in float16; float32 weights",
        ),
        (
            {"optimizer": "adam", "loss": LOSS, "second": "mixed_bfloat16"},
            r"float32 weights computed in bfloat16; float32 weights computed in float32",
        ),
    ],
    ids=["not compiled", "not built", "two variable dtypes", "two compute dtypes"],
)
def test_model_that_cannot_be_replayed_is_refused_at_once(settings, message):
    with pytest.raises(ValueError, match=message):
        replay(dense_model(**settings), [])


def test_model_without_weights_is_refused_at_once():
    with pytest.raises(ValueError, match="no weights yet; give it an Input layer"):
        replay(keras.Sequential([keras.layers.Dense(2)]), [])


def test_loss_scaling_within_loss_scaling_is_refused_at_once():
    twice = scaler(scaler(keras.optimizers.Adam()))
    with pytest.raises(ValueError, match="scales the loss twice; wrap a bare optimizer once"):
        replay(dense_model(optimizer=twice, loss=LOSS), [])


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_one_policy_with_a_softmax_in_float32_and_one_scaler_is_replayed(policy):
    once = scaler(keras.optimizers.SGD(0.5))
    model = dense_model(policy, policy, optimizer=once, loss=LOSS)
    (report,) = replay(model, [(np.eye(3), np.array([0, 1, 1]))])
    assert report.bad == ()
    assert report.moved > 0
    assert (report.second_moment_zero, report.largest_update) == (None, None)
