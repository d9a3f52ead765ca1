"""Finds settings of Adam that a floating-point type cannot hold, before any training.

docs/bounds.md ("Hyper-parameters that a type cannot hold") derives when they blow a step up or
freeze every weight, and lists the faults that a configuration alone does not show.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from cnnprec.precision.formats import get_format
from cnnprec.precision.precisions import Precision

ADAM_DEFAULTS = {"beta_2": 0.999, "epsilon": 1e-7}
"""The hyper-parameters of Keras' Adam that not every type can hold."""

# How many learning rates a step may be long and still be called normal: as many as it can be
# with float16's smallest normal epsilon (docs/bounds.md).
_OVERSHOOT = math.sqrt(8.0)


@dataclasses.dataclass(frozen=True)
class Finding:
    """One hyper-parameter that a type cannot hold."""

    hyper_parameter: str
    value: float
    cast_value: float  # rounded to the dtype
    dtype: str
    freezes: bool  # whether no weight ever changes; else an update exceeds the optimizer's bound
    message: str  # a sentence for people, with the remedy


def check_adam(config: Mapping[str, Any], dtype: str) -> tuple[Finding, ...]:
    """Lists the settings of Keras' Adam, its ``get_config()``, that the weights' dtype cannot hold.

    What the config lacks is not checked. An unknown dtype is a ValueError.
    """
    form = get_format(dtype)
    found = []
    beta_2, epsilon = config.get("beta_2"), config.get("epsilon")
    if beta_2 is not None and (cast := form.cast(beta_2)) >= 1.0:
        message = (
            f"{dtype} rounds Adam's beta_2={beta_2:g} to {cast:g}, which makes the bias-corrected "
            "learning rate zero, so every update is zero and no weight changes; use "
            f"{1.0 - form.unit_roundoff} or less, or keep the variables in float32."
        )
        found.append(Finding("beta_2", beta_2, cast, dtype, True, message))
    # All that is left to divide by where the second moment vanishes. Such a step is at most the
    # root of what vanishes, over epsilon, in units of the learning rate (docs/bounds.md).
    least = math.sqrt(form.underflow) / _OVERSHOOT
    if epsilon is not None and (cast := form.cast(epsilon)) < least:
        needed = 10.0 ** math.ceil(math.log10(least))  # a number that people write
        message = (
            f"{dtype} holds Adam's epsilon={epsilon:g} as {cast:.3g}, so where the second moment "
            f"vanishes a step is far too long; use at least {needed:g}, or keep the variables in "
            "float32."
        )
        found.append(Finding("epsilon", epsilon, cast, dtype, False, message))
    return tuple(found)


def check_precision(precision: Precision) -> tuple[Finding, ...]:
    """`check_adam` for the Adam that this suite trains a precision with."""
    config = {**ADAM_DEFAULTS, **dict(precision.optimizer_overrides)}
    return check_adam(config, precision.variable_dtype)
