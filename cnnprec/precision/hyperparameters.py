"""Finds optimizer settings that a floating-point type cannot hold, before any training.

Keras casts the hyper-parameters of an optimizer to the type of the variables, and what is left
of them can blow a step up or freeze every weight. docs/bounds.md ("Hyper-parameters that a type
cannot hold") derives when, and lists the faults that a configuration alone does not show.

NumPy and ml_dtypes only: this module never imports TensorFlow.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from cnnprec.precision.formats import FloatFormat, get_format
from cnnprec.precision.precisions import Precision
from cnnprec.text import Word


class Severity(Word):
    """What a hyper-parameter does to training in a given type."""

    FREEZES = "freezes"  # every update is zero, or so close that no weight ever changes
    BLOWS_UP = "blows up"  # an update can be non-finite, or exceed the optimizer's own bound
    UNCHECKED = "unchecked"  # the value is not known before training: nothing is promised


@dataclasses.dataclass(frozen=True)
class Finding:
    """One hyper-parameter that a type cannot hold.

    Attributes:
        optimizer: Class name of the Keras optimizer.
        hyper_parameter: Its name in the optimizer's configuration.
        value: The value asked for; NaN where it is not a number.
        cast_value: The value after rounding to `dtype`; NaN where `value` is.
        dtype: The type it is rounded to, such as ``"float16"``.
        severity: What that does to training.
        message: One sentence for people, with the remedy.
    """

    optimizer: str
    hyper_parameter: str
    value: float
    cast_value: float
    dtype: str
    severity: Severity
    message: str

    @property
    def fatal(self) -> bool:
        """Whether training cannot work, as opposed to not being known."""
        return self.severity is not Severity.UNCHECKED

    def __str__(self) -> str:
        return f"{self.severity}: {self.message}"


_Fault = tuple[Severity, str]


@dataclasses.dataclass(frozen=True)
class _Rules:
    """What the formulas of one optimizer need from the type of the variables.

    Attributes:
        at_one: By name of a decay rate, what it does once it is rounded to 1; the words
            follow "to 1, which".
        corrected: Whether epsilon is added to the root of v / (1 - beta_2^t). Adam adds it
            to the root of v and corrects the learning rate instead.
        trust_ratio: Whether the update is divided by its norm.
    """

    at_one: Mapping[str, _Fault]
    corrected: bool = True
    trust_ratio: bool = False


_NO_CORRECTION = (
    Severity.BLOWS_UP,
    "makes the bias correction 1 - beta_1^t zero, so every update is a division by zero",
)

_NO_RATE = (
    Severity.FREEZES,
    "makes the bias-corrected learning rate zero, so every update is zero and no weight changes",
)

_ZERO_BY_ZERO = (
    Severity.BLOWS_UP,
    "makes both the second moment and its bias correction zero, so every update is 0/0 = NaN",
)

_INFINITE_DIVISOR = (
    Severity.FREEZES,
    "makes the corrected second moment infinite, so no weight changes (and a gradient of exactly "
    "zero gives 0/0 = NaN)",
)

# The formulas of Keras 3.15: Adam, which the suite trains with, and the two that
# docs/why-low-precision-fails.md compares with it.
_RULES: Mapping[str, _Rules] = MappingProxyType(
    {
        "Adam": _Rules({"beta_1": _NO_CORRECTION, "beta_2": _NO_RATE}, corrected=False),
        "Nadam": _Rules({"beta_2": _ZERO_BY_ZERO}),
        "Lamb": _Rules({"beta_1": _NO_CORRECTION, "beta_2": _INFINITE_DIVISOR}, trust_ratio=True),
    }
)

ADAM_DEFAULTS: Mapping[str, float] = MappingProxyType(
    {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
)
"""The hyper-parameters of Keras' Adam that a precision can override."""


def check_hyperparameters(
    optimizer: str, config: Mapping[str, Any], dtype: str
) -> tuple[Finding, ...]:
    """Lists the hyper-parameters that `dtype` cannot hold.

    Args:
        optimizer: Class name of a Keras optimizer, such as ``"Adam"``. Of an unknown one
            only the learning rate is checked, and a finding says so.
        config: What its ``get_config()`` returns. A hyper-parameter that is absent or no
            number is reported as `Severity.UNCHECKED`.
        dtype: Type of the variables: ``"float16"``, ``"bfloat16"``, ``"float32"`` or
            ``"float64"``.

    Returns:
        The findings in the order of the formulas; empty if there are none.

    Raises:
        ValueError: `dtype` is unknown.
    """
    form = get_format(dtype)
    values = {name: _number(config.get(name)) for name in ADAM_DEFAULTS}
    cast = {name: form.cast(value) for name, value in values.items()}
    found = []
    if optimizer not in _RULES:
        message = (
            f"the formulas of {optimizer} are not known here, so only its learning rate was "
            f"checked; known are {', '.join(_RULES)}."
        )
        unknown = Severity.UNCHECKED
        found.append(Finding(optimizer, "name", math.nan, math.nan, dtype, unknown, message))
    for name in ADAM_DEFAULTS if optimizer in _RULES else ("learning_rate",):
        fault = _fault(optimizer, name, values[name], cast, form)
        if fault is not None:
            found.append(Finding(optimizer, name, values[name], cast[name], dtype, *fault))
    return tuple(found)


def check_optimizer(optimizer: Any, dtype: str) -> tuple[Finding, ...]:
    """`check_hyperparameters` for a Keras optimizer object.

    A subclass of a known optimizer is checked as that optimizer, and a
    ``LossScaleOptimizer`` as the one inside it. Raises as `check_hyperparameters` does.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    lineage = [cls.__name__ for cls in type(optimizer).__mro__]
    name = next((name for name in lineage if name in _RULES), lineage[0])
    return check_hyperparameters(name, optimizer.get_config(), dtype)


def check_precision(precision: Precision) -> tuple[Finding, ...]:
    """`check_hyperparameters` for the Adam that this suite trains a precision with.

    The type that counts is the one of the variables: under a mixed precision the
    optimizer stays in it.

    Args:
        precision: Its `optimizer_overrides` replace Keras' defaults.
    """
    config = {**ADAM_DEFAULTS, **dict(precision.optimizer_overrides)}
    return check_hyperparameters("Adam", config, precision.variable_dtype)


def fatal(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Those with which training cannot work."""
    return tuple(finding for finding in findings if finding.fatal)


def _number(value: Any) -> float:
    """`value` as a float; NaN if it is no number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return math.nan
    return float(value)


def _fault(
    optimizer: str, name: str, value: float, cast: Mapping[str, float], form: FloatFormat
) -> _Fault | None:
    rules = _RULES.get(optimizer)
    shown = f"{optimizer}'s {name}={value:g}"
    if math.isnan(value):
        return Severity.UNCHECKED, (
            f"{optimizer}'s {name} is not a number in the configuration, so it was not checked; "
            "pass its value."
        )
    severity = Severity.BLOWS_UP
    if name == "learning_rate" and cast[name] == 0.0:
        severity = Severity.FREEZES
        fault = f"{form.name} rounds {shown} to zero, so no weight ever changes"
        remedy = f"at least {form.smallest_normal:.2g}"
    elif name == "learning_rate" and math.isinf(cast[name]):
        fault = f"{form.name} cannot hold {shown}, so the weights become infinite"
        remedy = f"at most {form.max_finite:g}"
    elif rules and name in rules.at_one and cast[name] >= 1.0:
        severity, consequence = rules.at_one[name]
        fault = f"{form.name} rounds {shown} to {cast[name]:g}, which {consequence}"
        remedy = f"{1.0 - form.unit_roundoff} or less"
    elif rules and name == "epsilon":
        return _epsilon_fault(shown, rules, cast, form)
    else:
        return None
    return severity, f"{fault}; use {remedy}, or keep the variables in float32."


# How far beyond Adam's bound a step may go and still be called normal: as far as it can with
# float16's smallest normal epsilon (docs/bounds.md).
_OVERSHOOT = math.sqrt(8.0)


def _epsilon_fault(
    shown: str, rules: _Rules, cast: Mapping[str, float], form: FloatFormat
) -> _Fault | None:
    epsilon = cast["epsilon"]
    step, bound = _vanished_step(rules, cast["beta_1"], cast["beta_2"], form)
    severity = Severity.BLOWS_UP
    state = f"is too small for {form.name}, because"
    if epsilon < form.smallest_normal:
        state = f"becomes the subnormal number {epsilon:.3g} in {form.name}, and"
    if epsilon == 0.0:
        state = f"becomes zero in {form.name}, and"
        effect = "a gradient whose square vanishes is divided by zero"
    elif rules.trust_ratio and (step / epsilon) ** 2 > form.max_finite:
        severity = Severity.FREEZES
        effect = (
            "the square of the update overflows, so that Lamb's trust ratio is zero and no "
            "weight changes"
        )
    elif not rules.trust_ratio and step / epsilon > _OVERSHOOT * bound:
        times = step / epsilon / bound
        effect = f"where the second moment vanishes one step can be {times:.0f} times Adam's bound"
    else:
        return None
    needed = max(form.smallest_normal, step / bound / _OVERSHOOT)
    needed = 10.0 ** math.ceil(math.log10(needed))  # a number that people write
    return severity, (
        f"{shown} {state} {effect}; use at least {needed:g}, or keep the variables in float32."
    )


def _vanished_step(
    rules: _Rules, beta_1: float, beta_2: float, form: FloatFormat
) -> tuple[float, float]:
    """The largest first step, times epsilon, whose second moment is zero; and Adam's bound.

    Both are in units of the learning rate. The step is zero if a rate is 1 or no number,
    which is reported already. Source: docs/bounds.md.
    """
    if not (beta_1 < 1.0 and beta_2 < 1.0):
        return 0.0, 1.0
    vanishing = form.smallest_normal if form.flushes_subnormals else form.smallest_subnormal / 2
    step = math.sqrt(vanishing / (1.0 - beta_2) if rules.corrected else vanishing)
    return step, max(1.0, (1.0 - beta_1) / math.sqrt(1.0 - beta_2))
