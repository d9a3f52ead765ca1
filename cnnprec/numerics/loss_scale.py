"""Loss scaling as it has to work: an infinite gradient skips the step, and the scale adapts."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


def loss_scale_faults(
    optimizer: keras.optimizers.Optimizer, variables: Sequence[Any], *, jit_compile: bool = False
) -> list[str]:
    """What an optimizer's loss scaling does wrong, in sentences; none where it has no scaling.

    One element of one gradient is infinite: no variable may change, and the scale has to halve.
    Then all are 0 in the last of `dynamic_growth_steps` steps: the scale has to double. The
    variables and the optimizer's are changed.

    Args:
        optimizer: Built for the variables.
        variables: Those that it trains.
        jit_compile: Whether XLA compiles the steps.
    """
    if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return []

    @tf.function(jit_compile=jit_compile, autograph=False)  # type: ignore[untyped-decorator, unused-ignore]
    def step(value: Any) -> None:
        *others, last = (tf.zeros(v.shape, v.dtype) for v in variables)
        one = tf.one_hot(tf.size(last) - 1, tf.size(last), value, tf.zeros_like(value))
        last += tf.cast(tf.reshape(one, last.shape), last.dtype)
        optimizer.apply([*others, last], variables)

    def after(value: float) -> float:
        step(tf.constant(value))
        return float(optimizer.dynamic_scale)

    wrong = []
    before, scale = [v.numpy() for v in variables], float(optimizer.dynamic_scale)
    if (halved := after(math.inf)) != scale / 2:
        wrong.append(f"loss scale: {halved:g} after an infinite gradient, not {scale / 2:g}")
    if any((v.numpy() != old).any() for v, old in zip(variables, before, strict=True)):
        wrong.append("loss scale: an infinite gradient changes weights")
    steps = optimizer.dynamic_growth_steps
    optimizer.step_counter.assign(steps - 1)
    if (doubled := after(0.0)) != 2 * halved:
        wrong.append(f"loss scale: {doubled:g} after {steps} finite steps, not {2 * halved:g}")
    return wrong
