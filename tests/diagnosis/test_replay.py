"""The replay names the place of a planted fault, and refuses what it cannot replay."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnprec.diagnosis.causes import diagnose
from cnnprec.diagnosis.replay import replay
from cnnprec.diagnosis.sighting import Sighting
from cnnprec.precision.precisions import PRECISIONS
from tests.support.plants import LAYERS, Plant, batches
from tests.training.test_trainer import TRAINABLE

WEIGHTED = ["conv1", "conv2", "conv3", "dense1", "dense2"]
KINDS = ["nan", "inf", "-inf", "huge"]
LARGEST = {"float16": 65504.0, "bfloat16": 3.3895e38, "float32": 3.4028e38, "float64": 1.7976e308}


def value_of(kind: str, dtype: str) -> float:
    # 0.75 of the largest number: finite, and within the factor of two that counts as huge.
    return 0.75 * LARGEST[dtype] if kind == "huge" else float(kind)


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
