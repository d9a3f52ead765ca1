"""What the static check predicts, and what Keras' optimizers then do.

Predictions are compared with a literal table, and the table with real steps of every
optimizer in every dtype.
"""

from __future__ import annotations

import inspect
import math
import re
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnnprec.hyperparameters import (
    ADAM_DEFAULTS,
    OPTIMIZERS,
    Finding,
    Severity,
    check_hyperparameters,
    check_optimizer,
    check_precision,
    fatal,
)
from cnnprec.precision import PRECISIONS, Precision

DTYPES = ("float16", "bfloat16", "float32", "float64")
U = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}

FREEZES, BLOWS_UP = Severity.FREEZES, Severity.BLOWS_UP
IMPRECISE, UNCHECKED = Severity.IMPRECISE, Severity.UNCHECKED

# What Keras' default settings come to, by optimizer and dtype. float32 and float64 hold
# all of them. What is missing here is out of the check's reach: in bfloat16 the default
# rates of Adadelta, Adagrad and SGD are small beside the spacing of the weights, and the
# steps of Adafactor and Ftrl in float16 lose digits; yet weights do move.
TABLE: dict[str, dict[str, dict[str, Severity]]] = {
    "Adam": {"float16": {"epsilon": BLOWS_UP}, "bfloat16": {"beta_2": FREEZES}},
    "AdamW": {
        "float16": {"epsilon": BLOWS_UP, "weight_decay": IMPRECISE},
        "bfloat16": {"beta_2": FREEZES, "weight_decay": IMPRECISE},
    },
    "Adamax": {"float16": {"epsilon": BLOWS_UP}, "bfloat16": {"beta_2": IMPRECISE}},
    "Nadam": {"float16": {"epsilon": BLOWS_UP}, "bfloat16": {"beta_2": BLOWS_UP}},
    "Lamb": {"float16": {"epsilon": FREEZES}, "bfloat16": {"beta_2": FREEZES}},
    "ScheduleFreeAdamW": {"float16": {"epsilon": BLOWS_UP}, "bfloat16": {"beta_2": BLOWS_UP}},
    "Muon": {
        "float16": {
            "epsilon": BLOWS_UP,
            "weight_decay": IMPRECISE,
            "adam_weight_decay": IMPRECISE,
        },
        "bfloat16": {
            "adam_beta_2": FREEZES,
            "weight_decay": IMPRECISE,
            "adam_weight_decay": IMPRECISE,
        },
    },
    "RMSprop": {"float16": {"epsilon": IMPRECISE}, "bfloat16": {}},
    "Adadelta": {"float16": {"epsilon": IMPRECISE}, "bfloat16": {}},
    "Adagrad": {"float16": {"epsilon": IMPRECISE}, "bfloat16": {}},
    "Adafactor": {"float16": {"epsilon_1": BLOWS_UP}, "bfloat16": {}},
    "SGD": {"float16": {}, "bfloat16": {}},
    "Lion": {"float16": {}, "bfloat16": {}},
    "Ftrl": {"float16": {}, "bfloat16": {}},
}


def make(name: str, **settings: Any) -> keras.Optimizer:
    return getattr(keras.optimizers, name)(**settings)


def severities(findings: tuple[Finding, ...]) -> dict[str, Severity]:
    return {finding.hyper_parameter: finding.severity for finding in findings}


def prediction(findings: tuple[Finding, ...]) -> str:
    """What training will do: a freeze hides whatever else is wrong."""
    found = {finding.severity for finding in findings}
    for severity in (FREEZES, BLOWS_UP):
        if severity in found:
            return severity.value
    return "moves"


# ---------------------------------------------------------------- the table


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_default_settings_have_the_findings_of_the_table(name: str, dtype: str) -> None:
    assert severities(check_optimizer(make(name), dtype)) == TABLE[name].get(dtype, {})


def test_every_optimizer_of_keras_is_in_the_table() -> None:
    composite = {"Optimizer", "LossScaleOptimizer", "MultiOptimizer"}
    exported = {
        name
        for name, value in vars(keras.optimizers).items()
        if inspect.isclass(value) and issubclass(value, keras.optimizers.Optimizer)
    }
    assert exported - composite == set(OPTIMIZERS) == set(TABLE)


# ---------------------------------------------------------------- the experiment


def gradients(dead: bool) -> list[np.ndarray]:
    """Of a convolution's kernel and bias: sizes from 1e-6 to 1e-2, as in a CNN.

    Args:
        dead: The last channel is one whose ReLU never fires: its gradients are zero.
    """
    rng = np.random.default_rng(0)
    drawn = []
    for shape in ((3, 3, 4, 8), (8,)):
        sizes = np.logspace(-6, -2, math.prod(shape))
        signed = rng.permutation(sizes) * rng.choice([-1.0, 1.0], sizes.size)
        drawn.append(signed.reshape(shape))
        if dead:
            drawn[-1][..., -1] = 0.0
    return drawn


def weights() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.uniform(-0.1, 0.1, shape) for shape in ((3, 3, 4, 8), (8,))]


def largest_steps(
    name: str, settings: dict[str, Any], dtype: str, dead: bool, inputs_in: str
) -> list[float]:
    """The largest change of a weight in each of two steps; infinite if not finite.

    Weights and gradients are rounded to `inputs_in` first, so that two dtypes can be
    compared on the same inputs.
    """
    variables = [
        keras.Variable(tf.cast(tf.cast(value, inputs_in), dtype), dtype=dtype)
        for value in weights()
    ]
    given = [tf.cast(tf.cast(value, inputs_in), dtype) for value in gradients(dead)]
    optimizer = make(name, **settings)
    steps = []
    before = [tf.cast(variable.value, tf.float64).numpy() for variable in variables]
    for _ in range(2):
        optimizer.apply(given, variables)
        after = [tf.cast(variable.value, tf.float64).numpy() for variable in variables]
        with np.errstate(invalid="ignore"):  # Inf - Inf, which counts as not finite below
            change = max(np.abs(a - b).max() for a, b in zip(after, before, strict=True))
        steps.append(float(change) if np.isfinite(change) else math.inf)
        before = after
    return steps


def outcome(name: str, dtype: str, **settings: Any) -> str:
    """What two real steps do to the weights.

    A step blows up if it is non-finite or beyond eight times the largest step in float64
    on the same inputs, plus the rounding of the weights (all below 0.2, so u·0.2). Eight
    is two for each of: a numerator that is rounded up to the smallest subnormal, a
    denominator that is rounded down by one, and a factor 1 - beta whose beta was rounded
    (float16(0.999): 2 %). The blow-ups that were measured are 474-fold and more.
    """
    dense = largest_steps(name, settings, dtype, dead=False, inputs_in=dtype)
    if max(dense) == 0.0:
        return "freezes"
    for dead in (False, True):
        measured = largest_steps(name, settings, dtype, dead, inputs_in=dtype) if dead else dense
        reference = largest_steps(name, settings, "float64", dead, inputs_in=dtype)
        for step, bound in zip(measured, reference, strict=True):
            if step > 8.0 * bound + 0.2 * U[dtype]:
                return "blows up"
    return "moves"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_default_settings_do_what_was_predicted(name: str, dtype: str) -> None:
    assert outcome(name, dtype) == prediction(check_optimizer(make(name), dtype))


# Settings beside the defaults, on both sides of each limit.
CASES: list[tuple[str, str, dict[str, float], str]] = [
    # The remedies that the messages name.
    ("Adam", "float16", {"epsilon": 1e-4}, "moves"),
    ("AdamW", "float16", {"epsilon": 1e-4}, "moves"),
    ("Adamax", "float16", {"epsilon": 1e-4}, "moves"),
    ("Nadam", "float16", {"epsilon": 1e-3}, "moves"),
    ("Lamb", "float16", {"epsilon": 1e-3}, "moves"),
    ("ScheduleFreeAdamW", "float16", {"epsilon": 1e-3}, "moves"),
    ("Muon", "float16", {"epsilon": 1e-4}, "moves"),
    ("Adafactor", "float16", {"epsilon_1": 1e-4}, "moves"),
    ("Adam", "bfloat16", {"beta_2": 0.99609375}, "moves"),
    ("AdamW", "bfloat16", {"beta_2": 0.99609375}, "moves"),
    ("Nadam", "bfloat16", {"beta_2": 0.99609375}, "moves"),
    ("Lamb", "bfloat16", {"beta_2": 0.99609375}, "moves"),
    ("ScheduleFreeAdamW", "bfloat16", {"beta_2": 0.99609375}, "moves"),
    ("Muon", "bfloat16", {"adam_beta_2": 0.99609375}, "moves"),
    # 0.998046875 is halfway between bfloat16's two largest numbers up to 1.
    ("Adam", "bfloat16", {"beta_2": 0.998}, "moves"),
    ("Adam", "bfloat16", {"beta_2": 0.9981}, "freezes"),
    ("Adam", "float16", {"beta_2": 0.9997, "epsilon": 1e-4}, "moves"),
    ("Adam", "float16", {"beta_2": 0.9998, "epsilon": 1e-4}, "freezes"),
    ("Adam", "bfloat16", {"beta_1": 0.999, "beta_2": 0.99}, "blows up"),
    ("Lamb", "bfloat16", {"beta_1": 0.999, "beta_2": 0.99}, "blows up"),
    ("Adamax", "bfloat16", {"beta_1": 0.999}, "blows up"),
    # An epsilon of zero, beside the root and below it.
    ("Adam", "float16", {"epsilon": 1e-8}, "blows up"),
    ("Adam", "float16", {"epsilon": 1e-6}, "blows up"),
    ("Adam", "float32", {"epsilon": 1e-46}, "blows up"),
    ("RMSprop", "float16", {"epsilon": 1e-8}, "blows up"),
    ("Adadelta", "float16", {"epsilon": 1e-8}, "blows up"),
    ("Adagrad", "float16", {"epsilon": 1e-8}, "moves"),
    ("Adagrad", "float16", {"epsilon": 1e-8, "initial_accumulator_value": 0.0}, "blows up"),
    ("Adagrad", "float16", {"epsilon": 1e-7, "initial_accumulator_value": 0.0}, "moves"),
    # These correct the second moment before they add epsilon, so it must be larger.
    ("Nadam", "float16", {"epsilon": 1e-4}, "blows up"),
    ("Lamb", "float16", {"epsilon": 1e-4}, "moves"),
    ("Lamb", "float16", {"epsilon": 1e-6}, "freezes"),
    ("ScheduleFreeAdamW", "float16", {"epsilon": 1e-4}, "blows up"),
    # Learning rates and options.
    ("SGD", "float16", {"learning_rate": 1e-8}, "freezes"),
    ("Lion", "float16", {"learning_rate": 1e-8}, "freezes"),
    ("Lion", "float16", {"learning_rate": 6.2e-5}, "moves"),
    ("Ftrl", "float16", {"learning_rate": 1e-8}, "blows up"),
    ("SGD", "float16", {"learning_rate": 1e5}, "blows up"),
    ("SGD", "float16", {"learning_rate": 1.0, "clipvalue": 1e-8}, "freezes"),
    ("SGD", "float16", {"learning_rate": 1.0, "clipvalue": 1e-4}, "moves"),
    ("SGD", "float16", {"learning_rate": 1.0, "loss_scale_factor": 2.0**16}, "freezes"),
    ("SGD", "float16", {"learning_rate": 1.0, "loss_scale_factor": 2.0}, "moves"),
    ("SGD", "bfloat16", {"learning_rate": 1.0, "momentum": 0.999}, "moves"),
]


@pytest.mark.parametrize(
    ("name", "dtype", "settings", "expected"),
    CASES,
    ids=[f"{name}-{dtype}-{settings}" for name, dtype, settings, _ in CASES],
)
def test_other_settings_are_predicted_and_do_what_was_predicted(
    name: str, dtype: str, settings: dict[str, float], expected: str
) -> None:
    predicted = prediction(check_optimizer(make(name, **settings), dtype))
    assert (predicted, outcome(name, dtype, **settings)) == (expected, expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_muon_moves_matrices_even_where_its_adam_is_broken(dtype: str) -> None:
    """Hence the words "everything but matrices" in Muon's messages."""
    matrix = keras.Variable(np.eye(8), dtype=dtype)
    before = tf.cast(matrix.value, tf.float64).numpy()
    gradient = tf.constant(np.random.default_rng(0).normal(0.0, 1e-2, (8, 8)), dtype)
    make("Muon").apply([gradient], [matrix])
    change = np.abs(tf.cast(matrix.value, tf.float64).numpy() - before)
    assert np.isfinite(change).all()
    assert change.max() > 0.0
    (message,) = (f.message for f in fatal(check_optimizer(make("Muon"), dtype)))
    assert "everything but matrices" in message


def test_the_predicted_size_of_adams_blow_up_is_the_measured_one() -> None:
    """One weight, with the largest gradient whose second moment vanishes in float16.

    The message says how many times Adam's bound lr·(1 - beta_1)/sqrt(1 - beta_2) one step
    can be. float16's epsilon of 2·2**-24 and the other operands of the update keep 1 or
    more significant bits (the smallest is m·alpha = 1.7e-7, three units of 2**-24), so
    the measured step is within a factor of two.
    """
    (finding,) = check_optimizer(make("Adam"), "float16")
    times = re.search(r"can be (\d+) times", finding.message)
    assert times is not None
    weight = keras.Variable(np.zeros(1), dtype="float16")
    make("Adam").apply([tf.constant([5.4e-3], tf.float16)], [weight])
    step = abs(float(weight.numpy()[0]))
    bound = 1e-3 * 0.1 / math.sqrt(1e-3)
    assert 0.5 <= step / bound / int(times.group(1)) <= 2.0


# ---------------------------------------------------------------- the suite's precisions


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("double", {}),
        ("single", {}),
        ("tf32", {}),
        ("half", {"epsilon": BLOWS_UP}),
        ("mixed_half", {}),
        ("bfloat16", {"beta_2": FREEZES}),
        ("mixed_bfloat16", {}),
        ("half_stable", {}),
        ("bfloat16_stable", {}),
    ],
)
def test_a_precision_is_fatal_exactly_if_it_cannot_train(
    name: str, expected: dict[str, Severity]
) -> None:
    findings = check_precision(PRECISIONS[name], batch_size=32, classes=10)
    assert severities(findings) == expected
    assert fatal(findings) == findings


def test_every_precision_has_a_row_above() -> None:
    parametrize = next(
        mark
        for mark in test_a_precision_is_fatal_exactly_if_it_cannot_train.pytestmark
        if mark.name == "parametrize"
    )
    assert {row[0] for row in parametrize.args[1]} == set(PRECISIONS)


def test_the_defaults_of_adam_are_those_of_keras() -> None:
    config = make("Adam").get_config()
    # The learning rate passes through a float32 variable, hence its unit roundoff.
    assert {name: config[name] for name in ADAM_DEFAULTS} == {
        name: pytest.approx(value, rel=U["float32"], abs=0.0)
        for name, value in ADAM_DEFAULTS.items()
    }


def test_an_override_that_does_not_cure_is_still_found() -> None:
    weak = Precision("weak", "float16", "float16", optimizer_overrides=(("epsilon", 1e-6),))
    assert severities(check_precision(weak)) == {"epsilon": BLOWS_UP}


@pytest.mark.parametrize(
    ("dtype", "epsilon", "normal"),
    [
        ("float32", 1e-7, True),
        ("float32", 1e-38, False),
        ("bfloat16", 1e-7, True),
        ("bfloat16", 1e-38, False),
        ("float16", 1e-4, True),
        ("float16", 6e-5, False),
    ],
)
def test_an_epsilon_is_found_exactly_if_it_is_not_normal(
    dtype: str, epsilon: float, normal: bool
) -> None:
    config = {**ADAM_DEFAULTS, "beta_2": 0.99, "epsilon": epsilon}
    found = severities(check_hyperparameters("Adam", config, dtype))
    assert ("epsilon" not in found) == normal


# ---------------------------------------------------------------- the details


def check(name: str, dtype: str, **settings: Any) -> tuple[Finding, ...]:
    return check_optimizer(make(name, **settings), dtype)


def test_a_finding_carries_the_value_and_what_becomes_of_it() -> None:
    (finding,) = check("Adam", "bfloat16")
    assert finding == Finding(
        optimizer="Adam",
        hyper_parameter="beta_2",
        value=0.999,
        cast_value=1.0,
        dtype="bfloat16",
        severity=FREEZES,
        message=(
            "bfloat16 rounds Adam's beta_2=0.999 to 1, which makes the bias-corrected learning "
            "rate zero, so every update is zero and no weight changes; use 0.99609375 or less, "
            "or keep the variables in float32."
        ),
    )
    assert finding.fatal
    assert str(finding) == f"freezes: {finding.message}"


def test_an_accepted_subnormal_epsilon_is_only_imprecise() -> None:
    config = make("Adam").get_config()
    found = check_hyperparameters("Adam", config, "float16", accept_subnormal=True)
    assert severities(found) == {"epsilon": IMPRECISE}
    assert not fatal(found)


def test_an_epsilon_of_zero_is_never_accepted() -> None:
    config = make("Adam", epsilon=1e-8).get_config()
    found = check_hyperparameters("Adam", config, "float16", accept_subnormal=True)
    assert severities(found) == {"epsilon": BLOWS_UP}


def test_a_subnormal_learning_rate_is_imprecise_and_its_error_is_stated() -> None:
    # 1e-7 lies between 1 and 2 units of 2**-24; it acts as 1.19e-7.
    (finding,) = check("SGD", "float16", learning_rate=1e-7)
    assert finding.severity == IMPRECISE
    assert "1.19209e-07, 19% off" in finding.message


def test_a_normal_learning_rate_has_no_finding() -> None:
    assert check("SGD", "float16", learning_rate=6.2e-5) == ()


def test_a_rate_that_rounds_to_a_much_shorter_memory_is_imprecise() -> None:
    (finding,) = check("Adam", "bfloat16", beta_2=0.998)
    assert finding.severity == IMPRECISE
    assert "remembers 256 steps instead of 500" in finding.message


def test_a_rate_that_keeps_its_memory_has_no_finding() -> None:
    assert check("Adam", "bfloat16", beta_2=0.99) == ()  # 1/85 instead of 1/100


def test_a_weight_decay_below_the_spacing_of_the_weights_never_acts() -> None:
    """Its rejecting twin is measured: in float32 a weight without gradient decays."""
    changed = {}
    for dtype in ("float16", "float32"):
        weight = keras.Variable(np.full(4, 0.1), dtype=dtype)
        before = weight.numpy()
        make("SGD", learning_rate=1e-3, weight_decay=4e-3).apply([tf.zeros(4, dtype)], [weight])
        changed[dtype] = bool((weight.numpy() != before).any())
        found = check("SGD", dtype, learning_rate=1e-3, weight_decay=4e-3)
        assert ("weight_decay" in severities(found)) == (not changed[dtype])
    assert changed == {"float16": False, "float32": True}


@pytest.mark.parametrize(("momentum", "expected"), [(0.999, FREEZES), (0.99, None)])
def test_an_average_of_weights_that_never_changes_is_found(
    momentum: float, expected: Severity | None
) -> None:
    found = check("SGD", "bfloat16", use_ema=True, ema_momentum=momentum)
    assert severities(found).get("ema_momentum") == expected
    average = None
    weight = keras.Variable([1.0], dtype="bfloat16")
    optimizer = make("SGD", learning_rate=0.5, use_ema=True, ema_momentum=momentum)
    for _ in range(2):
        before = average
        optimizer.apply([tf.ones(1, tf.bfloat16)], [weight])
        average = float(optimizer._model_variables_moving_average[0].numpy()[0])
    assert (average == before) == (expected == FREEZES)


def test_an_average_that_is_not_used_is_not_checked() -> None:
    assert check("SGD", "bfloat16", ema_momentum=0.999) == ()


def test_a_loss_scale_optimizer_is_looked_through() -> None:
    wrapped = keras.optimizers.LossScaleOptimizer(make("Adam"))
    assert check_optimizer(wrapped, "bfloat16") == check("Adam", "bfloat16")
    assert check_optimizer(wrapped, "float32") == ()


@pytest.mark.parametrize(
    ("initial_scale", "expected"),
    [
        (2.0**15, {}),
        (1000.0, {"initial_scale": IMPRECISE}),
        (0.0, {"initial_scale": BLOWS_UP}),
        (1e39, {"initial_scale": FREEZES}),
    ],
)
def test_the_initial_loss_scale_is_checked_in_float32(
    initial_scale: float, expected: dict[str, Severity]
) -> None:
    wrapped = keras.optimizers.LossScaleOptimizer(make("SGD"), initial_scale=initial_scale)
    assert severities(check_optimizer(wrapped, "float32")) == expected


def test_a_loss_scale_optimizer_without_an_inner_one_is_refused() -> None:
    with pytest.raises(ValueError, match="inner_optimizer"):
        check_hyperparameters("LossScaleOptimizer", {"initial_scale": 1.0}, "float32")


def test_a_schedule_is_checked_by_the_rates_it_names() -> None:
    schedules = keras.optimizers.schedules
    decay = schedules.ExponentialDecay(1e-8, decay_steps=10, decay_rate=0.9)
    assert severities(check("SGD", "float16", learning_rate=decay)) == {"learning_rate": FREEZES}
    stairs = schedules.PiecewiseConstantDecay([5], [1e-2, 1e-8])
    assert severities(check("SGD", "float16", learning_rate=stairs)) == {"learning_rate": FREEZES}
    assert check("SGD", "float32", learning_rate=decay) == ()


def test_a_rate_that_is_not_in_the_configuration_is_not_passed_in_silence() -> None:
    found = check_hyperparameters("Adam", {"learning_rate": None, "beta_1": 0.9}, "float32")
    assert severities(found) == {
        "learning_rate": UNCHECKED,
        "beta_2": UNCHECKED,
        "epsilon": UNCHECKED,
    }
    assert not fatal(found)


class OurAdam(keras.optimizers.Adam):
    pass


class OurOwn(keras.optimizers.Optimizer):
    pass


def test_a_subclass_is_checked_as_what_it_derives_from() -> None:
    assert check_optimizer(OurAdam(), "bfloat16") == check("Adam", "bfloat16")


def test_an_unknown_optimizer_is_said_to_be_unchecked() -> None:
    found = check_optimizer(OurOwn(learning_rate=1e-8), "float16")
    assert severities(found) == {"name": UNCHECKED, "learning_rate": FREEZES}


def test_what_is_no_optimizer_is_refused() -> None:
    with pytest.raises(TypeError, match="received str, which has no get_config"):
        check_optimizer("adam", "float32")


@pytest.mark.parametrize("dtype", ["half", "int8", "float8_e4m3fn", ""])
def test_an_unknown_dtype_is_refused(dtype: str) -> None:
    with pytest.raises(ValueError, match="known are float16, bfloat16, float32, float64"):
        check_hyperparameters("SGD", {"learning_rate": 0.1}, dtype)


@pytest.mark.parametrize(
    ("dtype", "batch_size", "expected"),
    [
        ("bfloat16", 256, None),
        ("bfloat16", 257, IMPRECISE),
        ("bfloat16", 258, None),
        ("float16", 2048, None),
        ("float16", 2049, IMPRECISE),
        ("float16", 65504, None),
        ("float16", 65536, FREEZES),
        ("float32", 2**24 + 1, IMPRECISE),
        ("float64", 2**24 + 1, None),
    ],
)
def test_a_batch_size_is_found_exactly_if_the_dtype_does_not_hold_it(
    dtype: str, batch_size: int, expected: Severity | None
) -> None:
    config = {"learning_rate": 0.1, "momentum": 0.0}
    found = severities(check_hyperparameters("SGD", config, dtype, batch_size=batch_size))
    assert found.get("batch_size") == expected
    # What TensorFlow makes of the same number.
    cast = float(tf.cast(tf.cast(tf.constant(batch_size), dtype), tf.float64))
    assert (cast == batch_size) == (expected is None)


@pytest.mark.parametrize(
    ("dtype", "classes", "expected"),
    [
        ("bfloat16", 257, None),
        ("bfloat16", 258, Severity.MISLABELS),
        ("float16", 2049, None),
        ("float16", 2050, Severity.MISLABELS),
        ("float32", 2**24 + 2, Severity.MISLABELS),
    ],
)
def test_classes_are_found_exactly_if_the_last_label_is_rounded(
    dtype: str, classes: int, expected: Severity | None
) -> None:
    config = {"learning_rate": 0.1, "momentum": 0.0}
    found = check_hyperparameters("SGD", config, dtype, classes=classes)
    assert severities(found).get("classes") == expected
    assert len(fatal(found)) == (expected is not None)
    last = float(tf.cast(tf.cast(tf.constant(classes - 1), dtype), tf.float64))
    assert (last == classes - 1) == (expected is None)


@pytest.mark.parametrize("name", ["batch_size", "classes"])
@pytest.mark.parametrize("count", [0, -1, True])
def test_a_count_that_is_not_positive_is_refused(name: str, count: int) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a positive integer"):
        check_hyperparameters("SGD", {"learning_rate": 0.1}, "float32", **{name: count})


def test_every_message_is_one_sentence_with_a_remedy() -> None:
    found = [
        finding
        for name in OPTIMIZERS
        for dtype in DTYPES
        for finding in check_optimizer(make(name), dtype, batch_size=65537, classes=10**9)
    ]
    found += [
        finding for name, dtype, settings, _ in CASES for finding in check(name, dtype, **settings)
    ]
    found += check_hyperparameters("Adam", {}, "float32")
    faults = [
        finding.message
        for finding in found
        if not finding.message.endswith(".")
        or re.search(r"[.!?]\s", finding.message)
        or not re.search(r"; (use|choose|raise|pass|compute)\b", finding.message)
    ]
    assert found
    assert faults == []


def test_the_module_does_not_import_tensorflow() -> None:
    code = "import sys, cnnprec.hyperparameters; print({'tensorflow', 'keras'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert loaded.stdout.strip() == b"set()"
