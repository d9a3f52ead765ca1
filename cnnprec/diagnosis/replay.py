"""Where a training broke, and why: the first bad tensor and the numbers that explain it.

A run that went wrong is replayed from its seed, one step at a time, every tensor looked at.

A tensor is bad if it holds a NaN or an infinity. The first bad one in the order of computing is
where the trouble began.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from cnnprec.diagnosis.step import as_float64, compute_step, slots_of, weight_names
from cnnprec.precision.formats import Real
from cnnprec.precision.hyperparameters import Finding, check_adam
from cnnprec.text import Word


class Phase(Word):
    """Parts of a training step in the order in which it computes them."""

    FORWARD = "forward"
    LOSS = "loss"
    GRADIENT = "gradient"
    SLOT = "slot"
    WEIGHT = "weight"


# Phases whose tensors are gone after the step.
_PASSING = frozenset({Phase.FORWARD, Phase.LOSS, Phase.GRADIENT})


@dataclasses.dataclass(frozen=True)
class Sighting:
    """A bad tensor of a layer or the loss, and how many of its elements are bad."""

    step: int  # from 0
    phase: Phase
    layer: str
    tensor: str  # such as ``"kernel gradient"``
    nan: int
    infinite: int
    elements: int

    def __str__(self) -> str:
        kinds = (("NaN", self.nan), ("infinite", self.infinite))
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds if count)
        where = f"step {self.step}, {self.phase}: {self.layer} {self.tensor}"
        return f"{where} ({counts} of {self.elements})"


@dataclasses.dataclass(frozen=True)
class StepReport:
    """What one step did, in numbers that tell a healthy step from a sick one."""

    step: int
    bad: tuple[Sighting, ...]  # in the order of computation
    skipped: bool
    second_moment_zero: float | None  # fraction of weights whose second moment alone is 0, if any
    largest_update: float | None  # largest change of a weight over Adam's bound, where it has one
    should_move: float  # fraction of weights that a nonzero gradient pushes
    moved: float  # fraction of weights that changed
    freezing: tuple[Finding, ...] = ()  # where none changed, settings whose cast made updates zero

    @property
    def harmless(self) -> bool:
        """Whether a scaler skipped the step and nothing bad is left of it."""
        return self.skipped and all(bad.phase in _PASSING for bad in self.bad)

    @property
    def frozen(self) -> bool:
        """Whether gradients push and no weight moved, and no scaler skipped the step."""
        return not self.skipped and self.should_move > 0 and self.moved == 0

    @property
    def blew_up(self) -> bool:
        """Whether a weight moved further than Adam and its rounding allow (docs/bounds.md)."""
        return self.largest_update is not None and self.largest_update > 2


def replay(model: keras.Sequential, batches: Iterable[tuple[Any, Any]]) -> Iterator[StepReport]:
    """Trains a model of `cnnprec.build_model` step by step, eagerly, and reports on each step.

    Batches are pairs of finite images ``[batch, 28, 28, 1]`` and integer labels ``[batch]``.
    """
    for step, (images, labels) in enumerate(batches):
        yield _step(model, images, labels, step)


def _step(model: keras.Sequential, images: Any, labels: Any, step: int) -> StepReport:
    optimizer, variables = model.optimizer, model.trainable_variables
    adam = getattr(optimizer, "inner_optimizer", optimizer)
    names = weight_names(model)
    seen: list[Sighting] = []

    def look(phase: Phase, layer: str, tensor: str, value: Any) -> Real:
        numbers = as_float64(value)
        nan, infinite = (int(np.count_nonzero(f(numbers))) for f in (np.isnan, np.isinf))
        if nan + infinite:
            seen.append(Sighting(step, phase, layer, tensor, nan, infinite, numbers.size))
        return numbers

    weights = [as_float64(variable) for variable in variables]
    tensors = compute_step(model, images, labels)
    gradients = tensors.gradients
    for layer, activation in zip(model.layers, tensors.activations, strict=True):
        look(Phase.FORWARD, layer.name, "activation", activation)
    look(Phase.LOSS, "loss", "loss", tensors.loss)
    upstream = zip(reversed(model.layers), reversed(tensors.activation_gradients), strict=True)
    for layer, gradient in upstream:
        if gradient is not None:
            look(Phase.GRADIENT, layer.name, "activation gradient", gradient)
        for (owner, name), own in zip(names, gradients, strict=True):
            if owner == layer.name:
                look(Phase.GRADIENT, owner, f"{name} gradient", own)

    iterations = int(adam.iterations.numpy())
    optimizer.apply_gradients(zip(gradients, variables, strict=True))
    skipped = optimizer is not adam and int(adam.iterations.numpy()) == iterations
    moments: dict[str, list[Real]] = {}
    for kind, slots in slots_of(adam, variables).items():
        pairs = zip(names, slots, strict=True)
        moments[kind] = [look(Phase.SLOT, layer, f"{n} {kind}", slot) for (layer, n), slot in pairs]
    pairs = zip(names, variables, strict=True)
    after = [look(Phase.WEIGHT, layer, name, variable) for (layer, name), variable in pairs]
    with np.errstate(invalid="ignore", over="ignore"):
        updates = [new - old for new, old in zip(after, weights, strict=True)]
    changes = np.concatenate(updates, axis=None)
    moved = int(np.count_nonzero(changes))
    pushed = sum(int(np.count_nonzero(as_float64(gradient))) for gradient in gradients)
    zero = None
    if {"momentum", "velocity"} <= moments.keys():
        first = np.concatenate(moments["momentum"], axis=None)
        second = np.concatenate(moments["velocity"], axis=None)
        zero = int(np.count_nonzero((first != 0) & (second == 0))) / changes.size
    still = not moved and not skipped
    found = check_adam(adam.get_config(), variables[0].dtype) if still else ()
    bound = _update_bound(adam)
    largest = float(np.abs(changes[np.isfinite(changes)]).max(initial=0))
    return StepReport(
        step=step,
        bad=tuple(seen),
        skipped=skipped,
        second_moment_zero=zero,
        largest_update=largest / bound if bound else None,
        should_move=pushed / changes.size,
        moved=moved / changes.size,
        freezing=tuple(finding for finding in found if finding.freezes),
    )


def _update_bound(optimizer: keras.optimizers.Optimizer) -> float | None:
    """The furthest that a step of Adam moves a weight (Kingma and Ba, arXiv:1412.6980, 2.1)."""
    if not isinstance(optimizer, keras.optimizers.Adam):
        return None
    rate = float(as_float64(optimizer.learning_rate))
    beta_1, beta_2 = float(optimizer.beta_1), float(optimizer.beta_2)
    return rate * max(1.0, (1 - beta_1) / math.sqrt(1 - beta_2))
