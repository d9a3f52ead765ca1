"""The dtypes of a model as it is built, against a table written by hand."""

import json
import threading

import keras
import pytest
import tensorflow as tf

from cnnprec.precision.precisions import PRECISIONS
from cnnprec.training.model import build_model

# precision: variable (also gradient and slot), computation (also activation), loss
TABLE = {
    "double": ("float64", "float64", "float64"),
    "single": ("float32", "float32", "float32"),
    "tf32": ("float32", "float32", "float32"),
    "half": ("float16", "float16", "float32"),
    "mixed_half": ("float32", "float16", "float32"),
    "bfloat16": ("bfloat16", "bfloat16", "float32"),
    "mixed_bfloat16": ("float32", "bfloat16", "float32"),
    "half_stable": ("float16", "float16", "float32"),
    "bfloat16_stable": ("bfloat16", "bfloat16", "float32"),
}


def test_table_has_a_row_for_every_precision():
    assert list(TABLE) == list(PRECISIONS)


@pytest.mark.parametrize(("name", "row"), TABLE.items())
def test_layers_and_optimizer_have_the_dtypes_of_the_table(name, row, model_of):
    variable, compute, loss = row
    model = model_of(name)
    images = tf.zeros([2, 28, 28, 1], tf.uint8)
    with tf.GradientTape() as tape:
        outputs = model(images)
        value = model.loss(tf.zeros([2], tf.uint8), outputs)
    gradients = tape.gradient(value, model.trainable_variables)
    assert {layer.compute_dtype for layer in model.layers} == {compute}
    assert outputs.dtype == compute
    assert value.dtype == loss
    assert {v.dtype for v in model.trainable_variables} == {variable}
    assert {g.dtype.name for g in gradients} == {variable}
    slots = [v.dtype for v in model.optimizer.variables if len(v.shape)]
    assert slots == [variable] * 20


@pytest.mark.parametrize("name", ["half", "mixed_half", "bfloat16", "double"])
def test_counters_are_integers_whatever_the_precision(name, model_of):
    counters = [
        v for v in model_of(name).optimizer.variables if v.name in ("iteration", "step_counter")
    ]
    assert counters
    assert {v.dtype for v in counters} <= {"int32", "int64"}


def test_labels_and_images_reach_the_model_as_integers(model_of):
    model = model_of("half")
    assert model.layers[0].input.dtype == "uint8"
    # A label above 2048 would be rounded by float16.
    assert model.loss(tf.constant([9], tf.uint8), model(tf.zeros([1, 28, 28, 1], tf.uint8))) > 0


@pytest.mark.parametrize("name", PRECISIONS)
def test_layer_configurations_keep_the_dtypes_through_json(name, model_of):
    precision = PRECISIONS[name]
    for layer in model_of(name).layers:
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
        again = keras.saving.deserialize_keras_object(config)
        assert again.compute_dtype == precision.compute_dtype
        assert again.variable_dtype == precision.variable_dtype


def test_an_exception_while_building_leaves_the_global_policy_alone():
    before = keras.config.dtype_policy().name
    with pytest.raises(ValueError, match="float99"):
        build_model(PRECISIONS["half"], softmax_dtype="float99")
    assert keras.config.dtype_policy().name == before


def test_policy_set_in_one_thread_does_not_reach_a_model_built_in_another():
    found = {}

    def build():
        found["dtypes"] = {layer.dtype_policy.name for layer in build_model("double").layers}

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        thread = threading.Thread(target=build)
        thread.start()
        thread.join()
    finally:
        keras.config.set_dtype_policy(before)
    assert found["dtypes"] == {"float64"}
