"""The numbers themselves: operations held to bounds, the first steps held to float64."""

import functools
import hashlib
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from cnnprec.diagnosis.histograms import first_step
from cnnprec.diagnosis.step import as_float64, slots_of, weight_names
from cnnprec.numerics.float64_step import Float64, Float64Step, float64_step
from cnnprec.numerics.loss_scale import loss_scale_faults
from cnnprec.numerics.probes import QUICK, QUICK_XLA
from cnnprec.numerics.run_probes import ProbeResult, run_probes
from cnnprec.precision.formats import round_to
from cnnprec.records.numerics import FLOAT64_STEPS, Numerics, ProbeGroup, TensorErrors
from cnnprec.training.device import tensor_float_32
from cnnprec.training.operations import foreign_dtypes
from cnnprec.training.trainer import Trainer
from cnnprec.verdicts.numeric_limits import defect_limit

_IMAGES = 100
# With more terms TF32's errors average out below float32's bound (docs/bounds.md).
_FEW_TERMS = ("conv2d.tutorial-1.forward", "dense.odd.*", "dense.tutorial-2.forward")


def examine(trainer: Trainer, level: str) -> Numerics:
    """Probes the operations and repeats the first steps of a trainer in float64.

    Args:
        trainer: Warmed up. Its model is left in the middle of a training.
        level: ``"quick"`` or ``"full"``.
    """
    precision = trainer.precision
    tf32 = precision.tensor_float_32
    found = probe(precision.compute_dtype, level, tf32, trainer.jit_compiled)
    alone = trainer.alone or trainer
    model = alone.model
    wrong = loss_scale_faults(
        model.optimizer, model.trainable_variables, jit_compile=trainer.jit_compiled
    )
    binades = first_step(alone)
    wrong += foreign_dtypes(model, iter(alone.batches), precision.compute_dtype)
    losses, tensors = replay_in_float64(trainer)
    return Numerics(
        level=level,
        probes=tuple(grouped(found)),
        wrong=(*(str(r) for r in found if is_wrong(r)), *(tf32_not_used() if tf32 else ()), *wrong),
        unsteady=tuple(r.id for r in found if not r.repeats),
        losses=losses,
        tensors=tensors,
        miscounted=_miscounted(trainer),
        binades=binades,
    )


@functools.lru_cache(maxsize=8)
def probe(dtype: str, level: str, tf32: bool, xla: bool) -> tuple[ProbeResult, ...]:
    """Runs the probes of a dtype, quick ones under XLA only where it compiles the training too.

    Precisions that share the dtype share what was found.
    """
    names = ["*"] if level == "full" else [*QUICK, *(QUICK_XLA if xla else [])]
    with tensor_float_32(tf32):
        return run_probes([dtype], names, tensor_float_32=tf32)


def tf32_not_used() -> list[str]:
    """What is wrong where products of few terms are as exact as float32's though TF32 is on."""
    with tensor_float_32(True):
        held_to_float32 = run_probes(["float32"], _FEW_TERMS)
    if any(not result.within_bound for result in held_to_float32):
        return []
    remedy = "see NVIDIA_TF32_OVERRIDE, or leave the precision tf32 out"
    return [f"TF32 was allowed, and no product rounded its operands to it; {remedy}"]


def is_wrong(result: ProbeResult) -> bool:
    """Whether a result is over its bound, and further than a known defect of its probe goes."""
    most = defect_limit(result.id) if result.known_defect else 1.0
    return not (result.within_bound or result.max_error_over_bound <= most)


def grouped(results: Iterable[ProbeResult]) -> list[ProbeGroup]:
    """A row for each kind of operation, in the order of the probes."""
    groups: dict[str, list[ProbeResult]] = {}
    for result in results:
        groups.setdefault(_group(result.name), []).append(result)
    rows = []
    for name, members in groups.items():
        sound = [member for member in members if not member.known_defect]
        means = [m for r in sound for m in (r.signed_mean_error, r.outward_mean_error)]
        error = max((r.max_error_over_bound for r in sound), default=0.0)
        mean = max((m for m in means if not np.isnan(m)), key=abs, default=0.0)
        digest = hashlib.sha256("".join(r.sha256 for r in members).encode()).hexdigest()
        rows.append(ProbeGroup(name, _short(error), _short(mean), digest[:8]))
    return rows


def _group(name: str) -> str:
    if name.startswith("xla."):
        return f"xla.{_group(name.removeprefix('xla.'))}"
    first, *_, last = name.split(".")
    several = first in ("counting", "value", "cast", "reduce_sum", "reduce_mean")
    return first if several else f"{first}.{last}"


def replay_in_float64(trainer: Trainer) -> tuple[tuple[float, ...], tuple[TensorErrors, ...]]:
    """Takes the first steps as they are timed, and each one in float64 from the same weights.

    Adam's moments tell the gradients that the optimizer saw: after one step the first moment is
    (1 - beta_1) times the gradient. Steps after one that is not finite are not looked at.

    Returns:
        Relative errors of the losses of the steps, and a row for each weight.
    """
    model: Any = trainer.model
    trainer.start_turns()
    adam = _Adam(trainer)
    losses, first, updates = list[float](), list[tuple[float, float, float]](), list[list[float]]()
    batches = trainer.batches.take(min(FLOAT64_STEPS, trainer.config.steps))
    for step, (images, labels) in enumerate(batches):
        before, right = _numbers(model), _in_float64(trainer, images, labels)
        trainer.take(1)
        losses.append(_short(abs(model.step_log.losses()[step] - right.loss) / right.loss))
        after = _numbers(model)
        if step == 0:
            first += [adam.first_step(*weight) for weight in enumerate(right.gradients)]
        changes = zip(before, after, strict=True)
        updates.append([adam.update(place, step, *both) for place, both in enumerate(changes)])
        if not _finite(after):
            break
    names = map(" ".join, weight_names(model))
    rows = zip(names, first, zip(*updates, strict=True), strict=True)
    return tuple(losses), tuple(TensorErrors(name, *own, max(found)) for name, own, found in rows)


def _numbers(model: Any) -> list[Float64]:
    return [as_float64(variable) for variable in model.trainable_variables]


def _finite(weights: Iterable[Float64]) -> bool:
    return all(np.isfinite(numbers).all() for numbers in weights)


def _in_float64(trainer: Trainer, images: Any, labels: Any) -> Float64Step:
    """What a step from the present weights should compute, with inputs of the compute dtype."""
    dtype = trainer.precision.compute_dtype
    weights = [round_to(numbers, dtype) for numbers in _numbers(trainer.model)]
    return float64_step(weights, round_to(as_float64(images) / 255, dtype), labels.numpy())


class _Adam:
    """What Adam has done to the weights of a trainer, against its formulas in float64."""

    def __init__(self, trainer: Trainer) -> None:
        optimizer: Any = trainer.model.optimizer
        slots = slots_of(optimizer, trainer.model.trainable_variables)
        self._momenta, self._velocities = slots["momentum"], slots["velocity"]
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        # The learning rate is a float32 variable, whatever the weights are.
        settings = inner.get_config() | {"learning_rate": float(as_float64(inner.learning_rate))}
        self._dtype = trainer.precision.variable_dtype
        names = ("learning_rate", "beta_1", "beta_2", "epsilon")
        self._settings = [self._rounded(settings[name]) for name in names]
        self._parts = [self._rounded(1 - settings[name]) for name in ("beta_1", "beta_2")]

    def _rounded(self, value: float) -> float:
        return float(round_to(np.asarray(value, np.float64), self._dtype))

    def first_step(self, place: int, exact: Float64) -> tuple[float, float, float]:
        """Error and scale of a weight's first gradient, error of its second moment."""
        first, second = self._parts
        gradient = as_float64(self._momenta[place]) / first
        power = float(np.sum(exact * exact))
        scale = float(np.sum(gradient * exact)) / power - 1 if power else 0.0
        squares = round_to(gradient * gradient * second, self._dtype)
        velocity = as_float64(self._velocities[place])
        return _error(gradient - exact, exact), _short(scale), _error(velocity - squares, squares)

    def update(self, place: int, step: int, before: Float64, after: Float64) -> float:
        """Error of a weight's step, given the moments."""
        rate, beta_1, beta_2, epsilon = self._settings
        rate *= np.sqrt(1 - beta_2 ** (step + 1)) / (1 - beta_1 ** (step + 1))
        roots = np.sqrt(as_float64(self._velocities[place]))
        change = as_float64(self._momenta[place]) * rate / (roots + epsilon)
        return _error(after - round_to(before - change, self._dtype), change)


def _error(wrong: Float64, right: Float64) -> float:
    """The largest error relative to the root mean square of what is right."""
    largest = float(np.abs(wrong).max())
    if not np.isfinite(largest):
        return math.inf
    size = float(np.sqrt(np.mean(right * right)))
    return _short(largest / size) if size else math.inf if largest else 0.0


def _short(value: float) -> float:
    """Three digits: a record has to stay small."""
    return float(f"{value:.3g}")


def _miscounted(trainer: Trainer) -> int:
    """The evaluation's count of right answers less float64's, of the same weights."""
    if not _finite(_numbers(trainer.model)):
        return 0
    images, labels = trainer.test_images(_IMAGES)
    right = _in_float64(trainer, images, labels).probabilities.argmax(axis=1) == labels.numpy()
    return trainer.count_correct(_IMAGES) - int(right.sum())
