"""Finds optimizer settings that a floating-point type cannot hold, before any training.

docs/bounds.md ("Hyper-parameters that a type cannot hold") derives when they blow a step up or
freeze every weight, and lists the faults that a configuration alone does not show.
"""

import dataclasses
import math
import numbers
from collections.abc import Mapping
from typing import Any

from cnnprec.precision.formats import FloatFormat, get_format
from cnnprec.precision.precisions import Precision
from cnnprec.text import Word


class Severity(Word):
    """What a hyper-parameter does to training in a given type."""

    FREEZES = "freezes"  # every update is zero, or so close that no weight ever changes
    BLOWS_UP = "blows up"  # an update can be non-finite, or exceed the optimizer's own bound


@dataclasses.dataclass(frozen=True)
class Finding:
    """One hyper-parameter that a type cannot hold."""

    hyper_parameter: str
    value: float
    cast_value: float  # rounded to the dtype
    dtype: str
    severity: Severity
    message: str  # a sentence for people, with the remedy


_Fault = tuple[Severity, str]


@dataclasses.dataclass(frozen=True)
class _Rules:
    """What the formulas of one optimizer need from the type of the variables."""

    at_one: Mapping[str, _Fault]  # by name of a decay rate, what it does that is rounded to 1
    corrected: bool = True  # is epsilon added to the root of v / (1 - beta_2^t), not that of v?
    trust_ratio: bool = False  # is the update divided by its norm?


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
_RULES: Mapping[str, _Rules] = {
    "Adam": _Rules({"beta_1": _NO_CORRECTION, "beta_2": _NO_RATE}, corrected=False),
    "Nadam": _Rules({"beta_2": _ZERO_BY_ZERO}),
    "Lamb": _Rules({"beta_1": _NO_CORRECTION, "beta_2": _INFINITE_DIVISOR}, trust_ratio=True),
}

ADAM_DEFAULTS = {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
"""The hyper-parameters of Keras' Adam that a precision can override."""

# How far beyond Adam's bound a step may go and still be called normal: as far as it can with
# float16's smallest normal epsilon (docs/bounds.md).
_OVERSHOOT = math.sqrt(8.0)


def check_hyperparameters(
    optimizer: str, config: Mapping[str, Any], dtype: str
) -> tuple[Finding, ...]:
    """Lists the hyper-parameters that the variables' dtype cannot hold; ValueError if it is none.

    The optimizer is a class name of Keras', and the config its ``get_config()``; what is no number,
    such as a schedule, is not checked. Of one not known here only the learning rate is checked.
    """
    form = get_format(dtype)
    given = {name: config.get(name) for name in ADAM_DEFAULTS}
    values = {name: float(v) for name, v in given.items() if isinstance(v, numbers.Real)}
    cast = {name: form.cast(value) for name, value in values.items()}
    found = []
    for name, value in values.items():
        fault = _fault(f"{optimizer}'s {name}={value:g}", name, cast, _RULES.get(optimizer), form)
        if fault is not None:
            severity, text = fault
            message = f"{text}, or keep the variables in float32."
            found.append(Finding(name, value, cast[name], dtype, severity, message))
    return tuple(found)


def check_optimizer(optimizer: Any, dtype: str) -> tuple[Finding, ...]:
    """`check_hyperparameters` for an optimizer object; the one inside a ``LossScaleOptimizer``."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    # A subclass is checked as the optimizer that it is derived from.
    lineage = [cls.__name__ for cls in type(optimizer).__mro__]
    name = next((name for name in lineage if name in _RULES), lineage[0])
    return check_hyperparameters(name, optimizer.get_config(), dtype)


def check_precision(precision: Precision) -> tuple[Finding, ...]:
    """`check_hyperparameters` for the Adam that this suite trains a precision with."""
    config = {**ADAM_DEFAULTS, **dict(precision.optimizer_overrides)}
    return check_hyperparameters("Adam", config, precision.variable_dtype)


def _fault(
    shown: str, name: str, cast: Mapping[str, float], rules: _Rules | None, form: FloatFormat
) -> _Fault | None:
    if name == "learning_rate" and cast[name] == 0.0:
        return Severity.FREEZES, (
            f"{form.name} rounds {shown} to zero, so no weight ever changes; use at least "
            f"{form.smallest_normal:.2g}"
        )
    if name == "learning_rate" and math.isinf(cast[name]):
        return Severity.BLOWS_UP, (
            f"{form.name} cannot hold {shown}, so the weights become infinite; use at most "
            f"{form.max_finite:g}"
        )
    if rules and name in rules.at_one and cast[name] >= 1.0:
        severity, consequence = rules.at_one[name]
        return severity, (
            f"{form.name} rounds {shown} to {cast[name]:g}, which {consequence}; use "
            f"{1.0 - form.unit_roundoff} or less"
        )
    if rules and name == "epsilon":
        return _epsilon_fault(shown, rules, cast, form)
    return None


def _epsilon_fault(
    shown: str, rules: _Rules, cast: Mapping[str, float], form: FloatFormat
) -> _Fault | None:
    epsilon, beta_1, beta_2 = cast["epsilon"], cast.get("beta_1", 1.0), cast.get("beta_2", 1.0)
    # The largest first step, times epsilon, whose second moment is zero, and Adam's bound; both
    # in units of the learning rate (docs/bounds.md). A decay rate of 1 is reported already.
    step, bound = 0.0, 1.0
    if beta_1 < 1.0 and beta_2 < 1.0:
        lost = form.smallest_normal if form.flushes_subnormals else form.smallest_subnormal / 2
        step = math.sqrt(lost / (1.0 - beta_2) if rules.corrected else lost)
        bound = max(1.0, (1.0 - beta_1) / math.sqrt(1.0 - beta_2))
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
    return severity, f"{shown} {state} {effect}; use at least {needed:g}"
