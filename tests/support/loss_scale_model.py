"""A model of dynamic loss scaling, small enough to be checked by eye.

float16 loses every gradient below 2**-25. Loss scaling multiplies the loss by a power
of two before the backward pass and divides the gradients by it afterwards, which
changes no gradient that neither under- nor overflows. Dynamic scaling finds the power
by trial (Micikevicius et al., *Mixed Precision Training*, ICLR 2018, section 3.2).

The state machine, for one optimizer step::

                     gradients finite,           gradients finite,
                     counter + 1 < growth_steps  counter + 1 >= growth_steps
                    ┌──────────────────────┐    ┌──────────────────────────┐
                    │ apply                │    │ apply                    │
    (e, counter) ───┤ e       -> e         │    │ e       -> min(e + 1, M) │
                    │ counter -> counter+1 │    │ counter -> 0             │
                    └──────────────────────┘    └──────────────────────────┘
                     gradients not finite
                    ┌──────────────────────┐
                    │ skip                 │
                    │ e       -> max(e-1,m)│    the scale is 2**e; m, M are
                    │ counter -> 0         │    `min_exponent`, `max_exponent`
                    └──────────────────────┘

"Apply" divides the gradients by 2**e (the e before the step), hands them to the inner
optimizer and adds 1 to its iterations. "Skip" leaves every weight, slot and iteration
alone. The invariants:

1. The scale is exactly 2**e with m <= e <= M, so it is never zero, infinite or rounded.
2. A skipped step changes no weight, no slot and no iteration.
3. Applied gradients are finite, so a well-behaved optimizer keeps the weights finite.
4. From every reachable state, a gradient that is finite at some scale 2**t with t >= m
   is applied after at most ``max(0, e - t)`` skipped steps (`steps_until_applied`).

Keras 3.15's ``LossScaleOptimizer`` follows the same table with three differences, all
of them defects that docs/known-defects.md describes: it has no lower limit (142
skipped steps in a row end at a scale of 0), no upper limit (113 growths end at
infinity), and it grows when ``counter + 1 == growth_steps``, which is never true once
the setting is below the counter. `keras_agrees` says where the two must coincide.

Standard library only.
"""

from __future__ import annotations

import dataclasses
import math

INITIAL_EXPONENT = 15
"""Keras starts at a scale of 2**15."""

GROWTH_STEPS = 2000
"""Keras doubles the scale after 2000 applied steps in a row."""

MIN_EXPONENT = -126
"""float32's smallest normal number is 2**-126; CPUs flush what is below to zero."""

MAX_EXPONENT = 127
"""float32's largest power of two is 2**127."""


@dataclasses.dataclass(frozen=True)
class LossScale:
    """The state of dynamic loss scaling.

    Attributes:
        exponent: The loss scale is 2**exponent. An integer, so that it cannot be
            rounded, zero or infinite.
        counter: Applied steps since the scale last changed or a step was skipped.
        iterations: Applied steps in all: the iterations of the inner optimizer.
        growth_steps: Applied steps in a row after which the scale doubles.
        min_exponent: The exponent never falls below this.
        max_exponent: The exponent never rises above this.

    Raises:
        ValueError: A number is outside of its range. The message names it and the range.
    """

    exponent: int = INITIAL_EXPONENT
    counter: int = 0
    iterations: int = 0
    growth_steps: int = GROWTH_STEPS
    min_exponent: int = MIN_EXPONENT
    max_exponent: int = MAX_EXPONENT

    def __post_init__(self) -> None:
        problems = []
        if not MIN_EXPONENT <= self.min_exponent <= self.max_exponent <= MAX_EXPONENT:
            problems.append(
                f"the limits {self.min_exponent} to {self.max_exponent} must be in order and "
                f"within {MIN_EXPONENT} to {MAX_EXPONENT}, the powers of two of float32"
            )
        elif not self.min_exponent <= self.exponent <= self.max_exponent:
            problems.append(
                f"exponent {self.exponent} must be within "
                f"{self.min_exponent} to {self.max_exponent}"
            )
        if self.counter < 0:
            problems.append(f"counter {self.counter} must not be negative")
        if self.iterations < 0:
            problems.append(f"iterations {self.iterations} must not be negative")
        if self.growth_steps < 1:
            problems.append(f"growth_steps {self.growth_steps} must be at least 1")
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def scale(self) -> float:
        """The factor on the loss: exactly 2**exponent, also in float32."""
        return math.ldexp(1.0, self.exponent)

    def with_growth_steps(self, growth_steps: int) -> LossScale:
        """This state under another growth setting."""
        return dataclasses.replace(self, growth_steps=growth_steps)

    def __str__(self) -> str:
        return f"2**{self.exponent} ({self.counter}/{self.growth_steps} steps to the next growth)"


def update(state: LossScale, gradients_finite: bool) -> LossScale:
    """The state after one optimizer step; see the table at the top of this module.

    Args:
        state: The state before the step.
        gradients_finite: Whether every element of every scaled gradient is finite.
            Absent gradients count as finite.
    """
    if not gradients_finite:
        return dataclasses.replace(
            state, exponent=max(state.exponent - 1, state.min_exponent), counter=0
        )
    applied = dataclasses.replace(state, iterations=state.iterations + 1)
    if state.counter + 1 >= state.growth_steps:
        return dataclasses.replace(
            applied, exponent=min(state.exponent + 1, state.max_exponent), counter=0
        )
    return dataclasses.replace(applied, counter=state.counter + 1)


def steps_until_applied(state: LossScale, tame_exponent: int) -> int:
    """How many steps are skipped at most before a tame gradient is applied.

    Args:
        state: Any state.
        tame_exponent: The gradient is finite at every scale up to 2**tame_exponent.

    Raises:
        ValueError: The gradient overflows at every scale that the state may take.
    """
    if tame_exponent < state.min_exponent:
        raise ValueError(
            f"a gradient that is finite only up to 2**{tame_exponent} never is at scales from "
            f"2**{state.min_exponent}"
        )
    return max(0, state.exponent - tame_exponent)


def keras_agrees(state: LossScale, gradients_finite: bool) -> bool:
    """Whether Keras 3.15's ``LossScaleOptimizer`` takes the same step from this state.

    It does not at the two limits, nor when the growth setting is at or below the
    counter.
    """
    if not gradients_finite:
        return state.exponent > state.min_exponent
    if state.counter + 1 > state.growth_steps:
        return False
    grows = state.counter + 1 == state.growth_steps
    return not grows or state.exponent < state.max_exponent
