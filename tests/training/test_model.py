import threading

import keras
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from cnnprec.precision.precisions import PRECISIONS
from cnnprec.training.model import PixelsToUnit, build_model, build_optimizer, initial_weights

ALL = list(PRECISIONS.values())
NUMPY = {
    "float64": np.float64,
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
}


def test_network_is_the_tutorials(model_of):
    model = model_of("single")
    shapes = [(layer.name, tuple(layer.output.shape[1:])) for layer in model.layers]
    assert shapes == [
        ("pixels", (28, 28, 1)),
        ("conv1", (26, 26, 32)),
        ("pool1", (13, 13, 32)),
        ("conv2", (11, 11, 64)),
        ("pool2", (5, 5, 64)),
        ("conv3", (3, 3, 64)),
        ("flatten", (576,)),
        ("dense1", (64,)),
        ("dense2", (10,)),
    ]
    # 3*3*1*32+32, 3*3*32*64+64, 3*3*64*64+64, 576*64+64, 64*10+10
    assert model.count_params() == 320 + 18_496 + 36_928 + 36_928 + 650
    # 3*3*1*64+64, 3*3*64*128+128, 3*3*128*128+128, 1152*128+128, 128*10+10
    twice = build_model("single", width=2).count_params()
    assert twice == 640 + 73_856 + 147_584 + 147_584 + 1_290
    activations = [getattr(layer, "activation", None) for layer in model.layers]
    assert [a.__name__ for a in activations if a] == ["relu"] * 4 + ["softmax"]


@pytest.mark.parametrize("precision", ALL, ids=str)
def test_every_layer_stores_and_computes_in_the_types_of_the_precision(precision, model_of):
    model = model_of(precision.name)
    for layer in model.layers:
        assert layer.compute_dtype == precision.compute_dtype, layer.name
        assert layer.variable_dtype == precision.variable_dtype, layer.name
    assert {v.dtype for v in model.trainable_variables} == {precision.variable_dtype}
    adam = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    slots = [v for v in adam.variables if len(v.shape)]
    assert len(slots) == 2 * len(model.trainable_variables)
    assert {v.dtype for v in slots} == {precision.variable_dtype}
    assert model(np.zeros((2, 28, 28, 1), np.uint8)).dtype == precision.compute_dtype


@pytest.mark.parametrize("precision", ALL, ids=str)
def test_global_policy_is_never_touched(precision):
    before = keras.config.dtype_policy().name
    build_model(precision)
    assert keras.config.dtype_policy().name == before


def test_global_policy_of_the_caller_does_not_leak_into_the_model():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build_model(PRECISIONS["double"])
        assert {layer.compute_dtype for layer in model.layers} == {"float64"}
        assert type(model.optimizer) is keras.optimizers.Adam
    finally:
        keras.config.set_dtype_policy(before)


def test_models_of_different_precisions_built_in_threads_do_not_mix():
    built = {}
    threads = [
        threading.Thread(target=lambda p=p: built.update({p.name: build_model(p)})) for p in ALL
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: model.layers[1].compute_dtype for name, model in built.items()} == {
        p.name: p.compute_dtype for p in ALL
    }


@pytest.mark.parametrize("precision", ALL, ids=str)
def test_loss_scaling_is_there_exactly_where_the_precision_asks_for_it(precision):
    scaled = isinstance(build_optimizer(precision), keras.mixed_precision.LossScaleOptimizer)
    assert scaled is precision.loss_scaling


def scaled(optimizer):
    return keras.mixed_precision.LossScaleOptimizer(optimizer)


@pytest.mark.parametrize(
    ("name", "optimizer", "message"),
    [
        (
            "mixed_half",
            keras.optimizers.SGD,
            "mixed_half has loss_scaling=True, but its optimizer SGD comes without.*wrap it in",
        ),
        (
            "half",
            lambda: scaled(keras.optimizers.SGD()),
            "half has loss_scaling=False.*LossScaleOptimizer comes with.*pass its inner_optimizer",
        ),
        (
            "mixed_half",
            lambda: scaled(scaled(keras.optimizers.SGD())),
            "LossScaleOptimizer around another.*wrap a bare optimizer once",
        ),
    ],
    ids=["bare", "wrapped", "wrapped twice"],
)
def test_optimizer_is_refused_where_its_loss_scaling_is_not_the_precisions(
    name, optimizer, message
):
    with pytest.raises(ValueError, match=message):
        build_model(PRECISIONS[name], optimizer=optimizer())


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [("mixed_half", lambda: scaled(keras.optimizers.SGD())), ("half", keras.optimizers.SGD)],
)
def test_optimizer_given_is_taken_as_it_is(name, optimizer):
    given = optimizer()
    assert build_model(PRECISIONS[name], optimizer=given).optimizer is given


@pytest.mark.parametrize("precision", ALL, ids=str)
def test_optimizer_is_adam_with_keras_defaults_but_for_the_overrides(precision):
    optimizer = build_optimizer(precision)
    adam = getattr(optimizer, "inner_optimizer", optimizer)
    plain = keras.optimizers.Adam(name=adam.name).get_config()
    assert adam.get_config() == {**plain, **dict(precision.optimizer_overrides)}


@pytest.mark.parametrize("dtype", NUMPY)
def test_pixels_are_divided_with_a_single_rounding(dtype):
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    found = PixelsToUnit(dtype=dtype)(pixels)
    assert found.dtype == dtype
    # float64 holds pixel / 255 with 29 more bits than float32, so that rounding it once
    # more gives the correctly rounded quotient (no quotient lies that near a tie).
    expected = (pixels.astype(np.float64) / 255).astype(NUMPY[dtype])
    np.testing.assert_array_equal(
        np.asarray(tf.cast(found, tf.float64)), expected.astype(np.float64)
    )


def test_multiplying_by_a_rounded_reciprocal_would_not_be_the_same():
    pixels = np.arange(256).astype(np.float16)
    product = pixels * np.float16(1 / 255)
    assert (product != (np.arange(256) / 255).astype(np.float16)).any()


@pytest.mark.parametrize("name", ["mixed_half", "half", "double"])
def test_softmax_can_be_computed_in_float32(name):
    model = build_model(PRECISIONS[name], softmax_dtype="float32")
    assert model.layers[-1].compute_dtype == "float32"
    assert model.layers[-2].compute_dtype == PRECISIONS[name].compute_dtype
    assert model(np.zeros((1, 28, 28, 1), np.uint8)).dtype == "float32"


@pytest.mark.parametrize("precision", ALL, ids=str)
def test_loss_is_computed_in_float64_for_double_and_in_float32_for_all_others(precision, model_of):
    model = model_of(precision.name)
    loss = model.loss(np.zeros(2), model(np.zeros((2, 28, 28, 1), np.uint8)))
    assert loss.dtype == ("float64" if precision.name == "double" else "float32")


@pytest.mark.parametrize(("name", "exact"), [("double", True), ("single", False)])
def test_gradient_of_double_is_not_rounded_to_float32_on_its_way(name, exact, model_of):
    model = model_of(name)
    images = np.random.default_rng(1).integers(0, 256, (8, 28, 28, 1), np.uint8)
    labels = np.arange(8)
    with tf.GradientTape() as tape:
        outputs = model(images)
        loss = model.compute_loss(y=labels, y_pred=outputs)
    gradient = tape.gradient(loss, model.trainable_variables)[-1].numpy()
    # The gradient of the cross-entropy for the logits is softmax minus one-hot.
    expected = (outputs.numpy().astype(np.float64) - np.eye(10)[labels]).mean(axis=0)
    # Some twenty operations on numbers below 1, each rounded to 2**-53.
    close = np.abs(gradient - expected).max() <= 20 * 2.0**-53
    assert close is np.bool_(exact)


@pytest.mark.parametrize("precision", ALL, ids=str)
def test_all_precisions_start_from_the_same_weights_rounded(precision, model_of):
    single = initial_weights(model_of("single"), seed=12)
    weights = initial_weights(model_of(precision.name), seed=12)
    for ours, reference in zip(weights, single, strict=True):
        assert ours.dtype == NUMPY[precision.variable_dtype]
        np.testing.assert_array_equal(
            ours.astype(np.float64), reference.astype(ours.dtype).astype(np.float64)
        )


def test_seeds_and_layers_draw_different_weights(model_of):
    model = model_of("single")
    first, second = initial_weights(model, seed=12), initial_weights(model, seed=13)
    kernels = [i for i, v in enumerate(model.trainable_variables) if v.name == "kernel"]
    assert all((first[i] != second[i]).any() for i in kernels)
    # conv3 and dense1 have as many weights; drawn alike they would be equal.
    assert first[4].size == first[6].size
    assert (first[4].ravel() != first[6].ravel()).any()


def test_initial_weights_are_glorot_uniform_with_zero_biases(model_of):
    model = model_of("single")
    for variable, value in zip(model.trainable_variables, initial_weights(model, 1), strict=True):
        if variable.name == "bias":
            assert not value.any()
            continue
        receptive = np.prod(value.shape[:-2], initial=1)
        limit = np.sqrt(6 / (receptive * (value.shape[-2] + value.shape[-1])))
        assert np.abs(value).max() <= limit
        # n uniform draws reach 0.9 of their limit but for a chance of 0.9**n, n >= 288.
        assert np.abs(value).max() > 0.9 * limit
