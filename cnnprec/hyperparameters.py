"""Finds optimizer settings that a floating-point type cannot hold, before any training.

Keras casts the hyper-parameters of an optimizer to the type of the variables. In
float16 Adam's ``epsilon=1e-7`` becomes subnormal, and one step can move a weight
hundreds of times too far. In bfloat16 ``beta_2=0.999`` becomes 1, and no weight ever
moves. Both follow from the configuration alone, so both can be said before the first
step.

The check reads the formulas of Keras 3.15's optimizers, one row of data for each
(`_RULES`). It knows the hyper-parameters, not the gradients and not the weights.
These faults are therefore out of its reach:

* Steps smaller than half the spacing of the weights. Keras' default learning rates of
  Adadelta, Adagrad and SGD leave most weights of a CNN unchanged in bfloat16.
* Products of the learning rate and a small gradient that underflow in float16.
* Lamb's norms, which overflow in float16 for a layer of more than 65,504 weights.
* Adafactor in float16 beyond 65,519 steps, where its relative step becomes zero.
* Learning rates that a function computes; they are reported as `Severity.UNCHECKED`.

NumPy and ml_dtypes only: this module never imports TensorFlow.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import numbers
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import ml_dtypes
import numpy as np

from cnnprec.precision import Precision


class Severity(str, enum.Enum):
    """What a hyper-parameter does to training in a given type."""

    FREEZES = "freezes"
    """Every update is zero, or so close that no weight ever changes."""
    BLOWS_UP = "blows up"
    """An update can be non-finite, or exceed the optimizer's own bound."""
    MISLABELS = "mislabels"
    """Class labels are rounded to other labels."""
    IMPRECISE = "imprecise"
    """The value that acts is not the value that was asked for; training goes on."""
    UNCHECKED = "unchecked"
    """The value is not known before training, so nothing is promised."""

    def __str__(self) -> str:
        return self.value


_FATAL = frozenset({Severity.FREEZES, Severity.BLOWS_UP, Severity.MISLABELS})


@dataclasses.dataclass(frozen=True)
class Finding:
    """One hyper-parameter that a type cannot hold.

    Attributes:
        optimizer: Class name of the Keras optimizer, or ``"loss"`` for the batch size
            and the labels.
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
        """Whether training cannot work, as opposed to being less exact."""
        return self.severity in _FATAL

    def __str__(self) -> str:
        return f"{self.severity}: {self.message}"


class _Epsilon(enum.Enum):
    """Where an optimizer adds its epsilon, which decides what its loss does."""

    ADAM = "m·lr·sqrt(1 - beta_2^t)/(1 - beta_1^t) / (sqrt(v) + epsilon)"
    CORRECTED = "m / (sqrt(v / (1 - beta_2^t)) + epsilon)"
    TRUST_RATIO = "the same, then divided by the norm of the whole update"
    NORM = "lr·m / ((1 - beta_1^t)·(u + epsilon))"
    ROOT = "g / sqrt(v + epsilon)"
    SQUARE = "g / sqrt(mean(g² + epsilon))"


@dataclasses.dataclass(frozen=True)
class _Rate:
    """A hyper-parameter that must stay below 1 after rounding.

    Attributes:
        name: Its name in the configuration.
        severity: What a rounded value of 1 does.
        consequence: The same in words, to follow "to 1, which ...".
    """

    name: str
    severity: Severity
    consequence: str


@dataclasses.dataclass(frozen=True)
class _Rules:
    """What the formulas of one optimizer need from the type of the variables.

    Attributes:
        rates: The hyper-parameters that must stay below 1.
        epsilon: Name of the constant that keeps a divisor from zero, if it has one.
        placement: Where that constant is added.
        rate_1: Name of the decay rate of the first moment, for the bound of a step.
        rate_2: Name of the decay rate of the second moment.
        divides_by_learning_rate: Whether a zero learning rate is a division by zero.
        weight_decays: Names of its weight decays.
        scope: Which variables the rates and epsilon concern, for the message.
    """

    rates: tuple[_Rate, ...] = ()
    epsilon: str | None = None
    placement: _Epsilon | None = None
    rate_1: str = "beta_1"
    rate_2: str = "beta_2"
    divides_by_learning_rate: bool = False
    weight_decays: tuple[str, ...] = ("weight_decay",)
    scope: str = ""


_NO_CORRECTION = (
    "makes the bias correction 1 - beta_1^t zero, so every update is a division by zero"
)
_NO_RATE = (
    "makes the bias-corrected learning rate zero, so every update is zero and no weight changes"
)
_ZERO_BY_ZERO = (
    "makes both the second moment and its bias correction zero, so every update is 0/0 = NaN"
)
_SLOW_MOMENT = "keeps the first moment at its first value, so momentum never follows the gradient"
_NEVER_FORGETS = "never lets the average forget, so steps only become smaller"
_UNDAMPED = "never lets momentum fade, so steps grow without end"

_ADAM = _Rules(
    rates=(
        _Rate("beta_1", Severity.BLOWS_UP, _NO_CORRECTION),
        _Rate("beta_2", Severity.FREEZES, _NO_RATE),
    ),
    epsilon="epsilon",
    placement=_Epsilon.ADAM,
)

_RULES: Mapping[str, _Rules] = MappingProxyType(
    {
        "Adam": _ADAM,
        "AdamW": _ADAM,
        "Adamax": _Rules(
            rates=(
                _Rate("beta_1", Severity.BLOWS_UP, _NO_CORRECTION),
                _Rate("beta_2", Severity.IMPRECISE, _NEVER_FORGETS),
            ),
            epsilon="epsilon",
            placement=_Epsilon.NORM,
        ),
        "Nadam": _Rules(
            rates=(
                _Rate("beta_1", Severity.IMPRECISE, _SLOW_MOMENT),
                _Rate("beta_2", Severity.BLOWS_UP, _ZERO_BY_ZERO),
            ),
            epsilon="epsilon",
            placement=_Epsilon.CORRECTED,
        ),
        "Lamb": _Rules(
            rates=(
                _Rate("beta_1", Severity.BLOWS_UP, _NO_CORRECTION),
                _Rate(
                    "beta_2",
                    Severity.FREEZES,
                    "makes the corrected second moment infinite, so no weight changes (and a "
                    "gradient of exactly zero gives 0/0 = NaN)",
                ),
            ),
            epsilon="epsilon",
            placement=_Epsilon.TRUST_RATIO,
        ),
        "ScheduleFreeAdamW": _Rules(
            rates=(
                _Rate(
                    "beta_1",
                    Severity.IMPRECISE,
                    "removes the interpolation towards the newest weights",
                ),
                _Rate("beta_2", Severity.BLOWS_UP, _ZERO_BY_ZERO),
            ),
            epsilon="epsilon",
            placement=_Epsilon.CORRECTED,
        ),
        "Muon": _Rules(
            rates=(
                _Rate("momentum", Severity.IMPRECISE, _UNDAMPED),
                _Rate("adam_beta_1", Severity.BLOWS_UP, _NO_CORRECTION),
                _Rate("adam_beta_2", Severity.FREEZES, _NO_RATE),
            ),
            epsilon="epsilon",
            placement=_Epsilon.ADAM,
            rate_1="adam_beta_1",
            rate_2="adam_beta_2",
            weight_decays=("weight_decay", "adam_weight_decay"),
            scope=" (for everything but matrices, the part that Muon leaves to Adam)",
        ),
        "RMSprop": _Rules(
            rates=(
                _Rate("rho", Severity.IMPRECISE, _NEVER_FORGETS),
                _Rate("momentum", Severity.IMPRECISE, _UNDAMPED),
            ),
            epsilon="epsilon",
            placement=_Epsilon.ROOT,
        ),
        "Adadelta": _Rules(
            rates=(_Rate("rho", Severity.IMPRECISE, _NEVER_FORGETS),),
            epsilon="epsilon",
            placement=_Epsilon.ROOT,
        ),
        "Adagrad": _Rules(epsilon="epsilon", placement=_Epsilon.ROOT),
        "Adafactor": _Rules(epsilon="epsilon_1", placement=_Epsilon.SQUARE),
        "SGD": _Rules(rates=(_Rate("momentum", Severity.IMPRECISE, _UNDAMPED),)),
        "Lion": _Rules(
            rates=(
                _Rate(
                    "beta_1",
                    Severity.IMPRECISE,
                    "hides the newest gradient from the sign that Lion steps along",
                ),
                _Rate("beta_2", Severity.IMPRECISE, "keeps momentum at zero for ever"),
            )
        ),
        "Ftrl": _Rules(divides_by_learning_rate=True),
    }
)

OPTIMIZERS: tuple[str, ...] = tuple(_RULES)
"""Class names of the Keras optimizers whose formulas this module knows."""

ADAM_DEFAULTS: Mapping[str, float] = MappingProxyType(
    {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
)
"""The hyper-parameters of Keras' Adam that a precision can override."""


@dataclasses.dataclass(frozen=True)
class _Format:
    """A floating-point type, as far as this module needs it.

    Attributes:
        name: Such as ``"bfloat16"``.
        type: The NumPy scalar type.
        digits: Significand bits, with the hidden one.
        max_exponent: The largest e of a finite 2**e.
        vanishing: Below this, a square can become zero. In float16, half the smallest
            subnormal. Elsewhere the smallest normal number, because TensorFlow flushes
            float32 and float64 subnormals to zero on CPUs, and computes bfloat16 in
            float32.
    """

    name: str
    type: Any
    digits: int
    max_exponent: int
    vanishing: float

    @property
    def smallest_normal(self) -> float:
        return 2.0 ** (1 - self.max_exponent)

    @property
    def largest(self) -> float:
        return (2.0 - 2.0 ** (1 - self.digits)) * 2.0**self.max_exponent

    @property
    def below_one(self) -> float:
        """The largest number below 1."""
        return 1.0 - 2.0**-self.digits

    def cast(self, value: float) -> float:
        """`value` rounded to this type, to nearest with ties to even."""
        with np.errstate(over="ignore", under="ignore"):
            return float(np.float64(value).astype(self.type))

    def subnormal(self, value: float) -> bool:
        return 0.0 < abs(value) < self.smallest_normal


_FORMATS: Mapping[str, _Format] = MappingProxyType(
    {
        row.name: row
        for row in (
            _Format("float16", np.float16, 11, 15, 2.0**-25),
            _Format("bfloat16", ml_dtypes.bfloat16, 8, 127, 2.0**-126),
            _Format("float32", np.float32, 24, 127, 2.0**-126),
            _Format("float64", np.float64, 53, 1023, 2.0**-1022),
        )
    }
)


def check_hyperparameters(
    optimizer: str,
    config: Mapping[str, Any],
    dtype: str,
    *,
    batch_size: int | None = None,
    classes: int | None = None,
    accept_subnormal: bool = False,
) -> tuple[Finding, ...]:
    """Lists the hyper-parameters that `dtype` cannot hold.

    Args:
        optimizer: Class name of a Keras optimizer, such as ``"Adam"``. A
            ``"LossScaleOptimizer"`` is looked through.
        config: What its ``get_config()`` returns. A hyper-parameter that is absent or
            None is not checked, except that an absent learning rate, rate or epsilon is
            reported as `Severity.UNCHECKED`.
        dtype: Type of the variables: ``"float16"``, ``"bfloat16"``, ``"float32"`` or
            ``"float64"``.
        batch_size: Examples in a batch, if the loss is averaged in `dtype`.
        classes: Number of classes, if integer labels are cast to `dtype`. Keras casts
            them to the type of the loss.
        accept_subnormal: Calls a subnormal epsilon imprecise instead of a blow-up, for
            those who have seen it train. An epsilon of zero is never accepted.

    Returns:
        The findings in the order of the formulas; empty if there are none.

    Raises:
        ValueError: `dtype` is unknown, `batch_size` or `classes` is not positive, or
            `config` of a ``LossScaleOptimizer`` holds no inner optimizer.
    """
    form = _format(dtype)
    found: list[Finding] = []
    if optimizer == "LossScaleOptimizer":
        inner = config.get("inner_optimizer")
        if not isinstance(inner, Mapping) or "class_name" not in inner:
            raise ValueError(
                "the configuration of a LossScaleOptimizer holds no serialized "
                "'inner_optimizer'; pass what its get_config() returns"
            )
        found += _check_initial_scale(config)
        optimizer, config = inner["class_name"], inner.get("config", {})
    rules = _RULES.get(optimizer)
    if rules is None:
        found.append(
            _finding(
                optimizer,
                "name",
                math.nan,
                form,
                Severity.UNCHECKED,
                f"the formulas of {optimizer} are not known here, so only its learning rate was "
                f"checked; known are {', '.join(OPTIMIZERS)}",
            )
        )
        rules = _Rules()
    found += _check_learning_rate(optimizer, rules, config, form)
    found += _check_rates(optimizer, rules, config, form)
    found += _check_epsilon(optimizer, rules, config, form, accept_subnormal)
    found += _check_weight_decay(optimizer, rules, config, form)
    found += _check_options(optimizer, config, form)
    found += _check_counts(form, batch_size, classes)
    return tuple(found)


def check_optimizer(
    optimizer: object,
    dtype: str,
    *,
    batch_size: int | None = None,
    classes: int | None = None,
    accept_subnormal: bool = False,
) -> tuple[Finding, ...]:
    """`check_hyperparameters` for a Keras optimizer object.

    A subclass of a known optimizer is checked as that optimizer.

    Args:
        optimizer: Anything with a ``get_config()`` in the manner of Keras.
        dtype: As in `check_hyperparameters`, and so are the others.
        batch_size: Examples in a batch.
        classes: Number of classes.
        accept_subnormal: Whether a subnormal epsilon may pass.

    Raises:
        TypeError: The object has no ``get_config()``.
        ValueError: As in `check_hyperparameters`.
    """
    get_config = getattr(optimizer, "get_config", None)
    if not callable(get_config):
        raise TypeError(
            f"expected a Keras optimizer, received {type(optimizer).__name__}, "
            "which has no get_config()"
        )
    lineage = [cls.__name__ for cls in type(optimizer).__mro__]
    known = [name for name in lineage if name in _RULES or name == "LossScaleOptimizer"]
    return check_hyperparameters(
        known[0] if known else lineage[0],
        get_config(),
        dtype,
        batch_size=batch_size,
        classes=classes,
        accept_subnormal=accept_subnormal,
    )


def check_precision(
    precision: Precision,
    *,
    batch_size: int | None = None,
    classes: int | None = None,
    accept_subnormal: bool = False,
) -> tuple[Finding, ...]:
    """`check_hyperparameters` for the Adam that this suite trains a precision with.

    The type that counts is the one of the variables: under a mixed precision the
    optimizer and the loss stay in it.

    Args:
        precision: Its `optimizer_overrides` replace Keras' defaults.
        batch_size: Examples in a batch.
        classes: Number of classes.
        accept_subnormal: Whether a subnormal epsilon may pass.
    """
    return check_hyperparameters(
        "Adam",
        {**ADAM_DEFAULTS, **dict(precision.optimizer_overrides)},
        precision.variable_dtype,
        batch_size=batch_size,
        classes=classes,
        accept_subnormal=accept_subnormal,
    )


def fatal(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Those with which training cannot work."""
    return tuple(finding for finding in findings if finding.fatal)


def _format(dtype: str) -> _Format:
    if dtype not in _FORMATS:
        raise ValueError(f"unknown dtype {dtype!r}; known are {', '.join(_FORMATS)}")
    return _FORMATS[dtype]


def _finding(
    optimizer: str,
    name: str,
    value: float,
    form: _Format,
    severity: Severity,
    message: str,
) -> Finding:
    cast_value = math.nan if math.isnan(value) else form.cast(value)
    return Finding(optimizer, name, value, cast_value, form.name, severity, message + ".")


def _number(value: Any) -> float | None:
    """`value` as a float, or None if it is no number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    return float(value)


def _missing(optimizer: str, name: str, form: _Format) -> Finding:
    return _finding(
        optimizer,
        name,
        math.nan,
        form,
        Severity.UNCHECKED,
        f"{optimizer}'s {name} is not a number in the configuration, so it was not checked; "
        "pass its value",
    )


def _check_initial_scale(config: Mapping[str, Any]) -> Iterator[Finding]:
    """Keras keeps the loss scale in float32, whatever the variables are."""
    form = _FORMATS["float32"]
    value = _number(config.get("initial_scale"))
    if value is None:
        return
    cast_value = form.cast(value)
    if not 0.0 < cast_value < math.inf or form.subnormal(cast_value):
        yield _finding(
            "LossScaleOptimizer",
            "initial_scale",
            value,
            form,
            Severity.FREEZES if cast_value > 1.0 else Severity.BLOWS_UP,
            f"float32 cannot hold an initial loss scale of {value:g}; use 32768",
        )
    elif math.frexp(cast_value)[0] != 0.5:
        yield _finding(
            "LossScaleOptimizer",
            "initial_scale",
            value,
            form,
            Severity.IMPRECISE,
            f"an initial loss scale of {value:g} is no power of two, so scaling rounds the "
            f"gradients; use {2.0 ** round(math.log2(cast_value)):g}",
        )


def _check_learning_rate(
    optimizer: str, rules: _Rules, config: Mapping[str, Any], form: _Format
) -> Iterator[Finding]:
    rates = _learning_rates(config.get("learning_rate"))
    if not rates:
        yield _missing(optimizer, "learning_rate", form)
    for value in rates:
        cast_value = form.cast(value)
        shown = f"{optimizer}'s learning_rate={value:g}"
        if cast_value == 0.0:
            severity, effect = Severity.FREEZES, "so no weight ever changes"
            if rules.divides_by_learning_rate:
                severity, effect = Severity.BLOWS_UP, f"and {optimizer} divides by it"
            message = f"{form.name} rounds {shown} to zero, {effect}"
        elif not math.isfinite(cast_value):
            severity = Severity.BLOWS_UP
            message = f"{form.name} cannot hold {shown}, so the weights become infinite"
        elif form.subnormal(cast_value):
            severity = Severity.IMPRECISE
            error = abs(cast_value - value) / abs(value)
            message = (
                f"{shown} is subnormal in {form.name} and acts as {cast_value:g}, {error:.0%} off"
            )
        else:
            continue
        remedy = f"use at least {form.smallest_normal:.2g}"
        if not math.isfinite(cast_value):
            remedy = f"use at most {form.largest:g}"
        yield _finding(
            optimizer,
            "learning_rate",
            value,
            form,
            severity,
            f"{message}; {remedy}, or keep the variables in float32",
        )


def _learning_rates(value: Any) -> tuple[float, ...]:
    """The learning rates that a configuration names: one, or those of a schedule."""
    number = _number(value)
    if number is not None:
        return (number,)
    if isinstance(value, Mapping) and isinstance(value.get("config"), Mapping):
        schedule = value["config"]
        listed = schedule.get("values", [schedule.get("initial_learning_rate")])
        if isinstance(listed, Iterable):
            read = [_number(item) for item in listed]
            return tuple(item for item in read if item is not None)
    return ()


def _check_rates(
    optimizer: str, rules: _Rules, config: Mapping[str, Any], form: _Format
) -> Iterator[Finding]:
    for rate in rules.rates:
        value = _number(config.get(rate.name))
        if value is None:
            yield _missing(optimizer, rate.name, form)
            continue
        cast_value = form.cast(value)
        if cast_value >= 1.0:
            yield _finding(
                optimizer,
                rate.name,
                value,
                form,
                rate.severity,
                f"{form.name} rounds {optimizer}'s {rate.name}={value:g} to {cast_value:g}, which "
                f"{rate.consequence}{rules.scope}; use {form.below_one} or less, or keep the "
                "variables in float32",
            )
        elif 0.0 < value < 1.0 and not 2 / 3 <= (1.0 - cast_value) / (1.0 - value) <= 1.5:
            # An exponential average with rate b remembers about 1/(1 - b) steps.
            yield _finding(
                optimizer,
                rate.name,
                value,
                form,
                Severity.IMPRECISE,
                f"{form.name} rounds {optimizer}'s {rate.name}={value:g} to {cast_value:g}, so its "
                f"average remembers {1 / (1 - cast_value):.0f} steps instead of "
                f"{1 / (1 - value):.0f}; choose a value that {form.name} holds, such as "
                f"{cast_value}",
            )


def _check_epsilon(
    optimizer: str,
    rules: _Rules,
    config: Mapping[str, Any],
    form: _Format,
    accept_subnormal: bool,
) -> Iterator[Finding]:
    if rules.epsilon is None:
        return
    value = _number(config.get(rules.epsilon))
    if value is None:
        yield _missing(optimizer, rules.epsilon, form)
        return
    cast_value = form.cast(value)
    need = _needed_epsilon(rules, config, form)
    if cast_value >= need:
        return
    severity, effect = _small_epsilon(rules, config, form, cast_value)
    if cast_value == 0.0:
        state = f"becomes zero in {form.name}, and"
    elif form.subnormal(cast_value):
        state = f"becomes the subnormal number {cast_value:.3g} in {form.name}, and"
        severity = Severity.IMPRECISE if accept_subnormal else severity
    else:
        state = f"is too small for {form.name}, because"
    yield _finding(
        optimizer,
        rules.epsilon,
        value,
        form,
        severity,
        f"{optimizer}'s {rules.epsilon}={value:g} {state} {effect}{rules.scope}; use at least "
        f"{_round_up(need):g}, or keep the variables in float32",
    )


# The smallest normal epsilon of float16, 2**-14, beside the largest square that vanishes
# there, 2**-25, lets Adam's step grow by 2**-12.5 / 2**-14 = sqrt(8) at most. That much
# is called normal; the type itself can double a step when it rounds to a subnormal.
_OVERSHOOT = math.sqrt(8.0)


def _rates_after_rounding(
    rules: _Rules, config: Mapping[str, Any], form: _Format
) -> tuple[float, float]:
    """The decay rates of the first and second moment, as the type holds them."""
    names = (rules.rate_1, rules.rate_2)
    rate_1, rate_2 = (form.cast(_number(config.get(name)) or 0.0) for name in names)
    return rate_1, rate_2


def _vanished_step(rules: _Rules, config: Mapping[str, Any], form: _Format) -> tuple[float, float]:
    """The largest first step where the second moment is zero, and Adam's bound.

    The second moment (1 - beta_2)·g² is zero for every gradient up to
    g = sqrt(z / (1 - beta_2)), z being the largest number that vanishes. There the step
    is g / epsilon instead of 1, in units of the learning rate; times sqrt(1 - beta_2) if
    the learning rate carries the bias correction. Adam's bound is
    max(1, (1 - beta_1) / sqrt(1 - beta_2)) in the same units.

    Returns:
        The step times epsilon, and the bound. The step is zero if the optimizer has no
        such step, or if a rate is 1 and reported already.
    """
    rate_1, rate_2 = _rates_after_rounding(rules, config, form)
    divides = (_Epsilon.ADAM, _Epsilon.CORRECTED, _Epsilon.TRUST_RATIO)
    if rules.placement not in divides or rate_1 >= 1.0 or rate_2 >= 1.0:
        return 0.0, 1.0
    gradient = math.sqrt(form.vanishing / (1.0 - rate_2))
    if rules.placement is _Epsilon.ADAM:
        gradient *= math.sqrt(1.0 - rate_2)
    return gradient, max(1.0, (1.0 - rate_1) / math.sqrt(1.0 - rate_2))


def _needed_epsilon(rules: _Rules, config: Mapping[str, Any], form: _Format) -> float:
    """The smallest epsilon about which there is nothing to say."""
    step, bound = _vanished_step(rules, config, form)
    return max(form.smallest_normal, step / bound / _OVERSHOOT)


def _small_epsilon(
    rules: _Rules, config: Mapping[str, Any], form: _Format, epsilon: float
) -> tuple[Severity, str]:
    """What an epsilon that is too small does, by where the optimizer adds it."""
    blows_up = Severity.BLOWS_UP
    imprecise = (Severity.IMPRECISE, "it no longer has the size that was asked for")
    if rules.placement is _Epsilon.SQUARE:
        if epsilon == 0.0:
            return blows_up, "a gradient whose square vanishes gives 0/0 = NaN"
        return imprecise
    if rules.placement is _Epsilon.ROOT:
        accumulated = _number(config.get("initial_accumulator_value")) or 0.0
        if epsilon == 0.0 and form.cast(accumulated) == 0.0:
            return blows_up, "a gradient whose square vanishes is divided by zero"
        # sqrt(epsilon) >= sqrt(smallest subnormal) >= every gradient whose square
        # vanishes, so the quotient stays below 1.
        return imprecise
    if rules.placement is _Epsilon.NORM:
        rate_1, _ = _rates_after_rounding(rules, config, form)
        if form.cast((1.0 - rate_1) * epsilon) == 0.0:
            return blows_up, "a gradient of exactly zero gives 0/0 = NaN"
        return imprecise
    if epsilon == 0.0:
        return blows_up, "a gradient whose square vanishes is divided by zero"
    step, bound = _vanished_step(rules, config, form)
    if step / epsilon <= _OVERSHOOT * bound:
        return imprecise
    if rules.placement is _Epsilon.TRUST_RATIO:
        if (step / epsilon) ** 2 > form.largest:
            return (
                Severity.FREEZES,
                "the square of the update overflows, so that Lamb's trust ratio is zero and no "
                "weight changes",
            )
        return Severity.IMPRECISE, "a few elements can take the whole step of their layer"
    return (
        blows_up,
        f"where the second moment vanishes one step can be {step / epsilon / bound:.0f} times "
        "Adam's bound",
    )


def _round_up(value: float) -> float:
    """The next power of ten: a number that people write."""
    return 10.0 ** math.ceil(math.log10(value))


def _check_weight_decay(
    optimizer: str, rules: _Rules, config: Mapping[str, Any], form: _Format
) -> Iterator[Finding]:
    rates = _learning_rates(config.get("learning_rate"))
    for name in rules.weight_decays:
        value = _number(config.get(name))
        if not value or not rates:
            continue
        # Keras computes w - w·decay·rate. The spacing of the numbers around w is at
        # least w·2**-digits, so less than half of that never changes any w.
        shrinks = form.cast(value) * form.cast(max(rates))
        if shrinks < 2.0 ** -(form.digits + 1):
            yield _finding(
                optimizer,
                name,
                value,
                form,
                Severity.IMPRECISE,
                f"{optimizer}'s {name}={value:g} times the learning rate is {shrinks:.2g}, less "
                f"than half a digit of {form.name}, so no weight ever decays; raise it, or keep "
                "the variables in float32",
            )


_CLIPS = ("clipnorm", "clipvalue", "global_clipnorm")


def _check_options(optimizer: str, config: Mapping[str, Any], form: _Format) -> Iterator[Finding]:
    """Options that every Keras optimizer has."""
    for name in _CLIPS:
        value = _number(config.get(name))
        if value is not None and form.cast(value) == 0.0:
            yield _finding(
                optimizer,
                name,
                value,
                form,
                Severity.FREEZES,
                f"{form.name} rounds {optimizer}'s {name}={value:g} to zero, which clips every "
                f"gradient to zero; use at least {form.smallest_normal:.2g}",
            )
    scale = _number(config.get("loss_scale_factor"))
    if scale is not None and not 0.0 < form.cast(scale) < math.inf:
        frozen = form.cast(scale) > 0.0
        yield _finding(
            optimizer,
            "loss_scale_factor",
            scale,
            form,
            Severity.FREEZES if frozen else Severity.BLOWS_UP,
            f"{form.name} cannot hold {optimizer}'s loss_scale_factor={scale:g}, and gradients "
            f"divided by it become {'zero' if frozen else 'infinite'}; use a power of two up to "
            f"{2.0 ** math.floor(math.log2(form.largest)):g}",
        )
    momentum = _number(config.get("ema_momentum"))
    if config.get("use_ema") and momentum is not None and form.cast(momentum) >= 1.0:
        yield _finding(
            optimizer,
            "ema_momentum",
            momentum,
            form,
            Severity.FREEZES,
            f"{form.name} rounds {optimizer}'s ema_momentum={momentum:g} to 1, so the averaged "
            f"weights stay those of the first step; use {form.below_one} or less",
        )


def _check_counts(form: _Format, batch_size: int | None, classes: int | None) -> Iterator[Finding]:
    for name, count in (("batch_size", batch_size), ("classes", classes)):
        if count is not None and (isinstance(count, bool) or count < 1):
            raise ValueError(f"{name} must be a positive integer, received {count!r}")
    exact = 2**form.digits  # every integer up to here is exact
    if batch_size is not None and form.cast(batch_size) != batch_size:
        cast_value = form.cast(batch_size)
        if math.isinf(cast_value):
            severity = Severity.FREEZES
            effect = "becomes infinite, so the mean loss and its gradients are zero"
        else:
            severity = Severity.IMPRECISE
            effect = f"becomes {cast_value:g}, which shifts the mean of the loss"
        yield _finding(
            "loss",
            "batch_size",
            float(batch_size),
            form,
            severity,
            f"a batch size of {batch_size} {effect} in {form.name}; use a power of two up to "
            f"{2 ** math.floor(math.log2(min(form.largest, 2.0**62)))}",
        )
    if classes is not None and classes - 1 > exact:
        yield _finding(
            "loss",
            "classes",
            float(classes),
            form,
            Severity.MISLABELS,
            f"integer labels beyond {exact} are not exact in {form.name}, where {exact + 1} "
            f"becomes {form.cast(exact + 1):g}; compute the loss in float32 or use at most "
            f"{exact + 1} classes",
        )
