"""Finds settings of Adam that a floating-point type cannot hold, before any training.

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


@dataclasses.dataclass(frozen=True)
class Finding:
    """One hyper-parameter that a type cannot hold."""

    hyper_parameter: str
    value: float
    cast_value: float  # rounded to the dtype
    dtype: str
    freezes: bool  # whether no weight ever changes; else an update exceeds the optimizer's bound
    message: str  # a sentence for people, with the remedy


ADAM_DEFAULTS = {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
"""The hyper-parameters of Keras' Adam that a precision can override."""

# How many learning rates a step may be long and still be called normal: as many as it can be
# with float16's smallest normal epsilon (docs/bounds.md).
_OVERSHOOT = math.sqrt(8.0)

_Fault = tuple[bool, str]  # whether it freezes, and the message


def check_adam(config: Mapping[str, Any], dtype: str) -> tuple[Finding, ...]:
    """Lists the settings of Keras' Adam that the variables' dtype cannot hold.

    The config is its ``get_config()``; what is no number, such as a schedule, is not checked. An
    unknown dtype is a ValueError.
    """
    form = get_format(dtype)
    found = []
    for name in ADAM_DEFAULTS:
        value = config.get(name)
        if isinstance(value, numbers.Real):
            cast = form.cast(float(value))
            if fault := _fault(f"Adam's {name}={value:g}", name, cast, form):
                freezes, text = fault
                message = f"{text}, or keep the variables in float32."
                found.append(Finding(name, float(value), cast, dtype, freezes, message))
    return tuple(found)


def check_precision(precision: Precision) -> tuple[Finding, ...]:
    """`check_adam` for the Adam that this suite trains a precision with."""
    config = {**ADAM_DEFAULTS, **dict(precision.optimizer_overrides)}
    return check_adam(config, precision.variable_dtype)


def _fault(shown: str, name: str, cast: float, form: FloatFormat) -> _Fault | None:
    if name == "epsilon":
        return _epsilon_fault(shown, cast, form)
    if name == "learning_rate" and cast == 0.0:
        return True, (
            f"{form.name} rounds {shown} to zero, so no weight ever changes; use at least "
            f"{form.smallest_normal:.2g}"
        )
    if name == "learning_rate" and math.isinf(cast):
        return False, (
            f"{form.name} cannot hold {shown}, so the weights become infinite; use at most "
            f"{form.max_finite:g}"
        )
    if name == "learning_rate" or cast < 1.0:
        return None
    effect = (
        "the bias-corrected learning rate zero, so every update is zero and no weight changes"
        if name == "beta_2"
        else "the bias correction 1 - beta_1^t zero, so every update is a division by zero"
    )
    return name == "beta_2", (
        f"{form.name} rounds {shown} to {cast:g}, which makes {effect}; use "
        f"{1.0 - form.unit_roundoff} or less"
    )


def _epsilon_fault(shown: str, epsilon: float, form: FloatFormat) -> _Fault | None:
    # All that is left to divide by where the second moment vanishes. Such a step is at most the
    # root of what vanishes, over epsilon, in units of the learning rate (docs/bounds.md).
    lost = form.smallest_normal if form.flushes_subnormals else form.smallest_subnormal / 2
    least = math.sqrt(lost) / _OVERSHOOT
    if epsilon >= least:
        return None
    needed = 10.0 ** math.ceil(math.log10(least))  # a number that people write
    return False, (
        f"{form.name} holds {shown} as {epsilon:.3g}, so where the second moment vanishes a step "
        f"is far too long; use at least {needed:g}"
    )
