"""Silent corruption: the same seeded steps again and again, every bit compared with the first pass.

All weights and all that the optimizer keeps are compared on the device after every step.
"""

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.config import disable_op_determinism, is_op_determinism_enabled

from cnnprec.diagnosis.step import weight_names
from cnnprec.machine.gpu_state import GpuState
from cnnprec.machine.gpu_watch import GpuWatch
from cnnprec.measurement.prepare import Prepared
from cnnprec.measurement.progress import Show
from cnnprec.measurement.watchdog import Watchdog
from cnnprec.precision.precisions import Precision
from cnnprec.text import count_of, duration
from cnnprec.training.trainer import Trainer
from cnnprec.workload.profiles import TrainingConfig

_MOST_STEPS = 40  # of a pass; what each leaves stays on the device, 2.2 MB in float64
_ENOUGH = 10  # differences, after which nothing new is learned


@dataclasses.dataclass
class Soak:
    """What was compared of one precision; it grows as the soak goes on."""

    precision: Precision
    steps: int = 0  # compared with the same step of the first pass
    seconds: float = 0.0
    differences: list[str] = dataclasses.field(default_factory=list)  # the first of each pass
    repeats: bool | None = None  # whether the second pass was as the first; None before its end
    state: GpuState | None = None  # what the GPU went through, by NVML

    def __str__(self) -> str:
        found = count_of(len(self.differences), "difference")
        return f"{self.precision}: {self.steps} steps compared in {duration(self.seconds)}, {found}"

    @property
    def wrong(self) -> str:
        """Why this is no PASS; empty where it is one."""
        if self.state and self.state.faulty:
            return f"FAIL: the GPU reported errors: {self.state}"
        if not self.repeats:
            why = "the second pass was not as the first one; the device may not be deterministic"
            return "\n".join([f"INCONCLUSIVE: {self}: {why}", *self.differences])
        return "\n".join([f"FAIL: {self}", *self.differences] if self.differences else [])

    def run(
        self,
        config: TrainingConfig,
        prepared: Prepared,
        seconds: float,
        *,
        gpu: int = 0,
        show: Show | None = None,
        watchdog: Watchdog | None = None,
    ) -> None:
        """Takes the first steps of the config with op determinism, until the seconds are over.

        At least two passes are made. With op determinism Keras leaves XLA out. The other arguments
        are those of `cnnprec.measurement.session.MeasuredSession`.
        """
        tell, watchdog = show or (lambda _: None), watchdog or Watchdog(None)
        with contextlib.ExitStack() as ending, watchdog:
            ending.callback(tell, None)
            if not is_op_determinism_enabled():
                tf.config.experimental.enable_op_determinism()
                ending.callback(disable_op_determinism)
            tell(f"{self.precision}: building the model to soak")
            with watchdog.over(f"the warm-up of {self.precision}"):
                trainer = Trainer(self.precision, config, prepared.dataset)
                trainer.warm_up()
            if prepared.environment.device_kind == "gpu":
                watch = GpuWatch(gpu)
                watch.start()
                ending.callback(lambda: setattr(self, "state", watch.stop()))
            began, first = time.monotonic(), list[list[Any]]()
            for number in itertools.count():
                tell(f"{self}, {duration(max(0.0, seconds - self.seconds))} left")
                usual = [self.seconds / number] if number else []
                with watchdog.over(f"a pass of {self.precision}", usual):
                    for step, state in enumerate(_states(trainer)):
                        self.steps += number > 0
                        self.seconds = time.monotonic() - began
                        if number == 0:
                            first.append(state)
                        elif found := _difference(trainer, first[step], state):
                            place = f"{self.precision}, pass {number + 1}, step {step}"
                            self.differences.append(f"{place}: {found}")
                            break
                if number == 1:
                    self.repeats = not self.differences
                enough = self.seconds >= seconds or len(self.differences) >= _ENOUGH
                if number and (enough or not self.repeats):
                    return


def _states(trainer: Trainer) -> Iterator[list[Any]]:
    """All variables after each step, copied on the device."""
    variables = [*trainer.model.trainable_variables, *trainer.model.optimizer.variables]
    trainer.start_turns()
    for _ in range(min(trainer.config.steps, _MOST_STEPS)):
        trainer.take(1)
        yield [tf.identity(variable.value) for variable in variables]


def _difference(trainer: Trainer, before: list[Any], now: list[Any]) -> str:
    """The first element that differs, with both values and the bits; empty where none does."""
    differ = np.flatnonzero(_differ(before, now).numpy())
    if not differ.size:
        return ""
    names = [" ".join(pair) for pair in weight_names(trainer.model)]
    slots, own = trainer.model.optimizer.variables, f"{trainer.model.name}_"
    names += [slot.name.removeprefix(own).replace("_", " ") for slot in slots]
    old, new = (np.asarray(side[differ[0]]) for side in (before, now))
    flipped = np.bitwise_xor(*(side.reshape(-1).view(f"u{side.itemsize}") for side in (old, new)))
    first = int(np.flatnonzero(flipped)[0])
    place = tuple(map(int, np.unravel_index(first, old.shape)))
    bits = ", ".join(str(n) for n in range(8 * old.itemsize) if int(flipped[first]) >> n & 1)
    return (
        f"{names[differ[0]]}, element {place}: {old[place]!s} -> {new[place]!s} (flipped bits: "
        f"{bits}); {np.count_nonzero(flipped)} of its {old.size} elements differ, "
        f"{differ.size} of {len(names)} tensors"
    )


@tf.function(autograph=False)  # type: ignore[untyped-decorator]
def _differ(before: list[Any], now: list[Any]) -> Any:
    """Which tensors differ in any bit, bool of shape ``[tensors]``."""
    # By bytes, because TensorFlow compares int32 in host memory.
    pairs = [[tf.bitcast(x, tf.uint8) for x in pair] for pair in zip(before, now, strict=True)]
    return tf.stack([tf.reduce_any(old != new) for old, new in pairs])
