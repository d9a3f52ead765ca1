"""One update of Adam, as an operation of probes."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cnnprec.numerics.bounds import Arithmetic, Enclosure
from cnnprec.numerics.operation import Inputs, Tensors, draw_normal
from cnnprec.numerics.tracked import Tracked
from cnnprec.precision.formats import round_to


@dataclasses.dataclass(frozen=True)
class AdamUpdate:
    """One step of Keras' Adam from given slots, with settings that every dtype holds exactly."""

    shape: tuple[int, ...] = (64, 16)
    output: str = "weight"  # or ``"momentum"`` or ``"velocity"``, after the step
    steps_before: int = 3

    learning_rate = 2.0**-9
    beta_1 = 1 - 2.0**-3
    beta_2 = 1 - 2.0**-7
    epsilon = 2.0**-13

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        return {
            "x": draw_normal(rng, self.shape, dtype),
            "gradient": draw_normal(rng, self.shape, dtype),
            "momentum": round_to(rng.standard_normal(self.shape) / 4, dtype),
            "velocity": round_to(rng.uniform(2.0**-6, 1, self.shape), dtype),  # normal in float16
        }

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        variable = keras.Variable(inputs["x"], dtype=dtype)
        optimizer = keras.optimizers.Adam(
            self.learning_rate, self.beta_1, self.beta_2, self.epsilon
        )
        optimizer.build([variable])
        momentum, velocity = optimizer._momentums[0], optimizer._velocities[0]
        results = {"weight": variable, "momentum": momentum, "velocity": velocity}

        def step() -> Any:
            optimizer.iterations.assign(self.steps_before)
            variable.assign(inputs["x"])
            momentum.assign(inputs["momentum"])
            velocity.assign(inputs["velocity"])
            optimizer.apply_gradients([(inputs["gradient"], variable)])
            return tf.identity(results[self.output].value)

        return step

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        of = functools.partial(Tracked.of, arithmetic=arithmetic)
        # Adam as Keras writes it (Kingma & Ba, section 2).
        gradient, m, v = of(inputs["gradient"]), of(inputs["momentum"]), of(inputs["velocity"])
        m = m + (gradient - m) * (1 - self.beta_1)
        v = v + (gradient * gradient - v) * (1 - self.beta_2)
        if self.output != "weight":
            return (m if self.output == "momentum" else v).enclosure
        step = self.steps_before + 1
        first = 1.0 - of(self.beta_1).power(step)
        second = 1.0 - of(self.beta_2).power(step)
        rate = of(self.learning_rate) * second.sqrt() / first
        return (of(inputs["x"]) - m * rate / (v.sqrt() + self.epsilon)).enclosure
