"""The dtype of every tensor of a training step, against a table written by hand."""

import json
import threading

import keras
import pytest
import tensorflow as tf

from cnnprec.diagnosis.dtypes import Mismatch, audit_dtypes
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


@pytest.mark.parametrize("name", PRECISIONS)
def test_audit_finds_nothing_wrong_with_a_model_as_built(name, model_of):
    assert audit_dtypes(model_of(name), PRECISIONS[name]) == ()


@pytest.mark.parametrize("name", PRECISIONS)
def test_audit_against_another_precision_finds_every_tensor(name, model_of):
    built = PRECISIONS[name]
    other = next(
        p
        for p in PRECISIONS.values()
        if p.variable_dtype != built.variable_dtype and p.compute_dtype != built.compute_dtype
    )
    found = audit_dtypes(model_of(name), other)
    # 9 layers with computation and activation, 10 variables with gradient and two slots.
    assert len([m for m in found if m.layer != "loss"]) == 9 * 2 + 10 * 4
    assert ("loss" in {m.layer for m in found}) is (built.loss_dtype != other.loss_dtype)


@pytest.mark.parametrize(
    "layer", ["pixels", "conv1", "pool1", "conv2", "pool2", "conv3", "flatten", "dense1", "dense2"]
)
@pytest.mark.parametrize(
    ("name", "policy", "wrong"),
    [
        ("mixed_half", "float32", "float32"),
        ("mixed_half", "mixed_bfloat16", "bfloat16"),
        ("single", "mixed_float16", "float16"),
    ],
)
def test_audit_names_the_one_layer_that_computes_in_another_type(
    name, policy, wrong, layer, model_of, monkeypatch
):
    precision = PRECISIONS[name]
    model = model_of(name)
    monkeypatch.setattr(model.get_layer(layer), "dtype_policy", keras.DTypePolicy(policy))
    found = audit_dtypes(model, precision)
    assert Mismatch(layer, "computation", precision.compute_dtype, wrong) in found
    assert {m.layer for m in found if m.tensor == "computation"} == {layer}


def test_audit_reports_all_mismatches_at_once_in_the_order_of_the_layers():
    model = build_model(PRECISIONS["mixed_half"])
    for layer in ("conv3", "pool1"):
        model.get_layer(layer).dtype_policy = keras.DTypePolicy("float32")
    found = audit_dtypes(model, PRECISIONS["mixed_half"])
    assert [m.layer for m in found if m.tensor == "computation"] == ["pool1", "conv3"]
    assert str(found[0]) == "pool1, computation: float32 instead of float16"


@pytest.mark.parametrize("name", PRECISIONS)
def test_float32_softmax_is_expected_where_it_was_asked_for(name):
    precision = PRECISIONS[name]
    model = build_model(precision, softmax_dtype="float32")
    assert audit_dtypes(model, precision, softmax_dtype="float32") == ()
    without = {m.layer for m in audit_dtypes(model, precision)}
    assert without == ({"softmax"} if precision.compute_dtype != "float32" else set())


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
        found["dtypes"] = audit_dtypes(build_model(PRECISIONS["double"]), PRECISIONS["double"])

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        thread = threading.Thread(target=build)
        thread.start()
        thread.join()
    finally:
        keras.config.set_dtype_policy(before)
    assert found["dtypes"] == ()
