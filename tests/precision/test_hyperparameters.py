"""What the static check predicts, and what Keras' Adam then does.

Predictions are compared with a literal table, and the table with real steps of Adam in every
dtype.
"""

from __future__ import annotations

import math
import re
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnnprec.precision.hyperparameters import (
    ADAM_DEFAULTS,
    Finding,
    check_adam,
    check_precision,
)
from cnnprec.precision.precisions import PRECISIONS, Precision

DTYPES = ("float16", "bfloat16", "float32", "float64")
U = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}

FREEZES, BLOWS_UP = "freezes", "blows up"

# What Keras' default settings come to. float32 and float64 hold all of them.
TABLE = {"float16": {"epsilon": BLOWS_UP}, "bfloat16": {"beta_2": FREEZES}}


def check(dtype: str, **settings: Any) -> tuple[Finding, ...]:
    return check_adam(keras.optimizers.Adam(**settings).get_config(), dtype)


def severities(findings: tuple[Finding, ...]) -> dict[str, str]:
    return {f.hyper_parameter: FREEZES if f.freezes else BLOWS_UP for f in findings}


def prediction(findings: tuple[Finding, ...]) -> str:
    """What training will do: a freeze hides whatever else is wrong."""
    found = severities(findings).values()
    return next((severity for severity in (FREEZES, BLOWS_UP) if severity in found), "moves")


# ---------------------------------------------------------------- the table


@pytest.mark.parametrize("dtype", DTYPES)
def test_default_settings_have_the_findings_of_the_table(dtype: str) -> None:
    assert severities(check(dtype)) == TABLE.get(dtype, {})


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


def largest_steps(settings: dict[str, Any], dtype: str, dead: bool, inputs_in: str) -> list[float]:
    """The largest change of a weight in each of two steps; infinite if not finite.

    Weights and gradients are rounded to `inputs_in` first, so that two dtypes can be
    compared on the same inputs.
    """
    variables = [
        keras.Variable(tf.cast(tf.cast(value, inputs_in), dtype), dtype=dtype)
        for value in weights()
    ]
    given = [tf.cast(tf.cast(value, inputs_in), dtype) for value in gradients(dead)]
    optimizer = keras.optimizers.Adam(**settings)
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


def outcome(dtype: str, **settings: Any) -> str:
    """What two real steps do to the weights.

    A step blows up if it is non-finite or beyond eight times the largest step in float64
    on the same inputs, plus the rounding of the weights (all below 0.2, so u·0.2). Eight
    is two for each of: a numerator that is rounded up to the smallest subnormal, a
    denominator that is rounded down by one, and a factor 1 - beta whose beta was rounded
    (float16(0.999): 2 %). The blow-ups that were measured are 474-fold and more.
    """
    dense = largest_steps(settings, dtype, dead=False, inputs_in=dtype)
    if max(dense) == 0.0:
        return "freezes"
    for dead in (False, True):
        measured = largest_steps(settings, dtype, dead, inputs_in=dtype) if dead else dense
        reference = largest_steps(settings, "float64", dead, inputs_in=dtype)
        for step, bound in zip(measured, reference, strict=True):
            if step > 8.0 * bound + 0.2 * U[dtype]:
                return "blows up"
    return "moves"


@pytest.mark.parametrize("dtype", DTYPES)
def test_default_settings_do_what_was_predicted(dtype: str) -> None:
    assert outcome(dtype) == prediction(check(dtype))


# Settings beside the defaults, on both sides of each limit.
CASES: list[tuple[str, dict[str, float], str]] = [
    # The remedies that the messages name.
    ("float16", {"epsilon": 1e-4}, "moves"),
    ("bfloat16", {"beta_2": 0.99609375}, "moves"),
    # 0.998046875 is halfway between bfloat16's two largest numbers up to 1.
    ("bfloat16", {"beta_2": 0.998}, "moves"),
    ("bfloat16", {"beta_2": 0.9981}, "freezes"),
    ("float16", {"beta_2": 0.9997, "epsilon": 1e-4}, "moves"),
    ("float16", {"beta_2": 0.9998, "epsilon": 1e-4}, "freezes"),
    # The last numbers below the ties. Keras' way to a 16-bit type leads through float32,
    # which rounds that of float64 to the tie, and the tie goes to 1.
    ("bfloat16", {"beta_2": 1 - 2.0**-9 - 2.0**-24}, "moves"),
    ("bfloat16", {"beta_2": 1 - 2.0**-9 - 2.0**-53}, "freezes"),
    ("float16", {"beta_2": 1 - 2.0**-12 - 2.0**-24, "epsilon": 1e-4}, "moves"),
    ("float16", {"beta_2": 1 - 2.0**-12 - 2.0**-53, "epsilon": 1e-4}, "freezes"),
    # An epsilon that becomes zero, or is too small beside the root.
    ("float16", {"epsilon": 1e-8}, "blows up"),
    ("float16", {"epsilon": 1e-6}, "blows up"),
    ("float32", {"epsilon": 1e-46}, "blows up"),
]


@pytest.mark.parametrize(
    ("dtype", "settings", "expected"),
    CASES,
    ids=[f"{dtype}-{settings}" for dtype, settings, _ in CASES],
)
def test_other_settings_are_predicted_and_do_what_was_predicted(
    dtype: str, settings: dict[str, float], expected: str
) -> None:
    predicted = prediction(check(dtype, **settings))
    assert (predicted, outcome(dtype, **settings)) == (expected, expected)


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
    name: str, expected: dict[str, str]
) -> None:
    assert severities(check_precision(PRECISIONS[name])) == expected


def test_every_precision_has_a_row_above() -> None:
    parametrize = next(
        mark
        for mark in test_a_precision_is_fatal_exactly_if_it_cannot_train.pytestmark
        if mark.name == "parametrize"
    )
    assert {row[0] for row in parametrize.args[1]} == set(PRECISIONS)


def test_the_defaults_of_adam_are_those_of_keras() -> None:
    config = keras.optimizers.Adam().get_config()
    assert {name: config[name] for name in ADAM_DEFAULTS} == ADAM_DEFAULTS


def test_an_override_that_does_not_cure_is_still_found() -> None:
    weak = Precision("weak", "float16", "float16", optimizer_overrides=(("epsilon", 1e-6),))
    assert severities(check_precision(weak)) == {"epsilon": BLOWS_UP}


@pytest.mark.parametrize(
    ("dtype", "epsilon", "enough"),
    [
        # Squares below 2**-126 vanish, so gradients of 2**-63 = 1e-19 do.
        ("float32", 1e-19, True),
        ("float32", 1e-20, False),
        ("bfloat16", 1e-19, True),
        ("bfloat16", 1e-20, False),
        # Squares up to 2**-25 vanish, so gradients of 1.7e-4 do.
        ("float16", 1e-4, True),
        ("float16", 6e-5, False),
    ],
)
def test_an_epsilon_is_found_exactly_if_it_is_small_beside_a_gradient_whose_square_vanishes(
    dtype: str, epsilon: float, enough: bool
) -> None:
    config = {**ADAM_DEFAULTS, "beta_2": 0.99, "epsilon": epsilon}
    found = severities(check_adam(config, dtype))
    assert ("epsilon" not in found) == enough


# ---------------------------------------------------------------- the details


def test_a_finding_carries_the_value_and_what_becomes_of_it() -> None:
    (finding,) = check("bfloat16")
    assert finding == Finding(
        hyper_parameter="beta_2",
        value=0.999,
        cast_value=1.0,
        dtype="bfloat16",
        freezes=True,
        message=(
            "bfloat16 rounds Adam's beta_2=0.999 to 1, which makes the bias-corrected learning "
            "rate zero, so every update is zero and no weight changes; use 0.99609375 or less, "
            "or keep the variables in float32."
        ),
    )


def test_a_rate_that_is_rounded_but_not_to_1_has_no_finding() -> None:
    assert check("bfloat16", beta_2=0.998) == ()


def test_what_is_not_set_is_not_checked() -> None:
    assert check_adam({"learning_rate": 0.5, "momentum": 0.9}, "float16") == ()


@pytest.mark.parametrize("dtype", ["half", "int8", "float8_e4m3fn", ""])
def test_an_unknown_dtype_is_refused(dtype: str) -> None:
    with pytest.raises(ValueError, match="known formats: float16, bfloat16, float32, float64"):
        check_adam(ADAM_DEFAULTS, dtype)


def test_every_message_is_one_sentence_with_a_remedy() -> None:
    found = [finding for dtype in DTYPES for finding in check(dtype)]
    found += [finding for dtype, settings, _ in CASES for finding in check(dtype, **settings)]
    faults = [
        finding.message
        for finding in found
        if not finding.message.endswith(".")
        or re.search(r"[.!?]\s", finding.message)
        or not re.search(r"; use\b", finding.message)
    ]
    assert found
    assert faults == []


def test_the_module_does_not_import_tensorflow() -> None:
    code = (
        "import sys, cnnprec.precision.hyperparameters;"
        "print({'tensorflow', 'keras'} & set(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert loaded.stdout.strip() == b"set()"
