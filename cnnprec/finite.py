"""Where a training broke, and why: the first bad tensor and the numbers that explain it.

Nothing is watched while training runs; the loss of each step is noted anyway
(`cnnprec.steps`). A run that went wrong is replayed from its seed, which gives the same
numbers again, one step at a time and with every tensor looked at. So watching costs
nothing where nothing is wrong, and the look afterwards can be thorough.

A tensor is bad if it holds a NaN, an infinity, or a number within a factor of two of the
largest finite one of its dtype: from there on sums overflow. Tensors are looked at in the
order in which a step computes them; the first bad one is where the trouble began.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from cnnprec.hyperparameters import Finding, Severity, check_optimizer

FloatArray = npt.NDArray[np.float64]


class Phase(str, enum.Enum):
    """Parts of a training step in the order in which it computes them."""

    STATE = "state before the step"
    FORWARD = "forward"
    LOSS = "loss"
    GRADIENT = "gradient"
    SLOT = "slot"
    UPDATE = "update"
    WEIGHT = "weight"

    def __str__(self) -> str:
        return self.value


# Phases whose tensors are gone after the step.
_PASSING = frozenset({Phase.FORWARD, Phase.LOSS, Phase.GRADIENT})


class Cause(str, enum.Enum):
    """Why a training went wrong."""

    SECOND_MOMENT_UNDERFLOW = "the optimizer's second moment underflowed to zero"
    HYPERPARAMETER = "a hyper-parameter is not representable in the dtype that holds it"
    UPDATES_VANISH = "every update is zero although gradients are not"
    OUTSIDE = "the state was bad before the step, so it came in from outside"
    OVERFLOW = "finite numbers overflowed"
    INVALID = "a NaN arose"
    HANDLED = "the loss scaler skipped the step"
    ALWAYS_SKIPPED = "the loss scaler skipped every step"

    def __str__(self) -> str:
        return self.value


@dataclasses.dataclass(frozen=True)
class Sighting:
    """A bad tensor.

    Attributes:
        step: The step, counted from 0.
        phase: Part of the step.
        layer: Name of the layer; ``"loss"`` for the loss.
        tensor: Such as ``"activation"``, ``"kernel gradient"`` or ``"bias velocity"``.
        nan, infinite, huge: How many elements are NaN, infinite, and finite but within a
            factor of two of overflow.
        elements: How many elements the tensor has.
        handled: Whether loss scaling skipped the step, so that no harm was done.
    """

    step: int
    phase: Phase
    layer: str
    tensor: str
    nan: int
    infinite: int
    huge: int
    elements: int
    handled: bool = False

    @property
    def cause(self) -> Cause:
        """What this tensor alone tells of the cause."""
        if self.handled:
            return Cause.HANDLED
        if self.phase is Phase.STATE:
            # What a step leaves behind is looked at in its own phases, slot and weight.
            return Cause.OUTSIDE
        return Cause.INVALID if self.nan else Cause.OVERFLOW

    def __str__(self) -> str:
        kinds = (("NaN", self.nan), ("infinite", self.infinite), ("near overflow", self.huge))
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds if count)
        return (
            f"step {self.step}, {self.phase}: {self.layer} {self.tensor} "
            f"({counts} of {self.elements})"
        )


@dataclasses.dataclass(frozen=True)
class StepReport:
    """What one step did, in numbers that tell a healthy step from a sick one.

    Attributes:
        step: The step, counted from 0.
        bad: Bad tensors in the order of computation.
        skipped: Whether a loss scaler skipped the step.
        second_moment_zero: Fraction of all weights whose first moment is not zero while the
            second is; None for optimizers that keep no second moment.
        largest_update: Largest ``|change|`` of a weight over what the optimizer can do in
            exact arithmetic; None for optimizers without such a bound.
        should_move: Fraction of all weights that a nonzero gradient pushes.
        moved: Fraction of all weights that changed.
        freezing: Where no weight changed, the hyper-parameters that make every update zero
            because the dtype of the weights cannot hold them.
    """

    step: int
    bad: tuple[Sighting, ...]
    skipped: bool
    second_moment_zero: float | None
    largest_update: float | None
    should_move: float
    moved: float
    freezing: tuple[Finding, ...] = ()

    @property
    def frozen(self) -> bool:
        """Whether gradients push and no weight moved, and no scaler skipped the step."""
        return not self.skipped and self.should_move > 0 and self.moved == 0

    @property
    def blew_up(self) -> bool:
        """Whether a weight moved further than exact arithmetic allows.

        The factor of two leaves room for the rounding of the update and of the weight it
        is added to; both are relative errors of a few units of roundoff, at most 2**-8
        each. The blow-up of half exceeds the bound hundreds of times.
        """
        return self.largest_update is not None and self.largest_update > 2


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """Why a training went wrong.

    Attributes:
        cause: The root of it; None if nothing is wrong.
        first: The first bad tensor that did harm; None if there is none.
        handled: Sightings in steps that a loss scaler skipped.
        evidence: The figures that prove the cause, as sentences without a full stop.
    """

    cause: Cause | None
    first: Sighting | None
    handled: tuple[Sighting, ...]
    evidence: tuple[str, ...]

    def __str__(self) -> str:
        return "; ".join(self.evidence) if self.evidence else "nothing is wrong"


def diagnose(reports: Iterable[StepReport]) -> Diagnosis:
    """Reads the reports of a run's first steps, in order, up to the first harm.

    The root is looked for in the optimizer before it is looked for in the tensors: a step
    that moved a weight too far is the cause of the overflow that follows it. Only a state
    that was bad before its step comes first, because then the optimizer had no chance.

    Args:
        reports: What `replay` yields. Nothing is asked of it after the first harm.
    """
    skipped: list[bool] = []
    handled: list[Sighting] = []
    evidence: list[str] = []
    root: Cause | None = None
    first: Sighting | None = None
    frozen = False
    for report in reports:
        skipped.append(report.skipped)
        handled += [bad for bad in report.bad if bad.handled]
        first = next((bad for bad in report.bad if not bad.handled), None)
        if root is None and first is not None and first.phase is Phase.STATE:
            root = Cause.OUTSIDE
        if root is None and report.blew_up:
            root = Cause.OVERFLOW
            if report.second_moment_zero:
                root = Cause.SECOND_MOMENT_UNDERFLOW
                evidence.append(
                    f"Adam's second moment underflowed in {report.second_moment_zero:.0%} of the "
                    f"weights at step {report.step}"
                )
            evidence.append(
                f"the largest update was {report.largest_update:.0f} times Adam's bound"
            )
        if root is None and report.frozen:
            frozen = True
            root = Cause.HYPERPARAMETER if report.freezing else Cause.UPDATES_VANISH
            evidence.append(
                f"{report.should_move:.0%} of the weights have a gradient at step {report.step}, "
                "and not one of them changed"
            )
            evidence += [
                f"{finding.hyper_parameter}={finding.value:g} is {finding.cast_value:g} in "
                f"{finding.dtype}, so every update is zero"
                for finding in report.freezing
            ]
        if first is not None:
            root = root or first.cause
            evidence.append(f"first bad tensor: {first}")
        if first is not None or frozen:
            break
    if root is None and skipped and all(skipped):
        root = Cause.ALWAYS_SKIPPED
        evidence.append(f"the loss scaler skipped every step of {len(skipped)}")
        if handled:
            evidence.append(f"first bad tensor: {handled[0]}")
    return Diagnosis(root, first, tuple(handled), tuple(evidence))


def replay(
    model: keras.Sequential, batches: Iterable[tuple[Any, Any]], *, start: int = 0
) -> Iterator[StepReport]:
    """Trains on the batches, step by step and eagerly, and reports on each step.

    Args:
        model: A compiled model whose optimizer is built. It is trained. Layers without
            weights may have a dtype policy of their own, such as a softmax in float32.
        batches: Pairs of images ``[batch, 28, 28, 1]`` and integer labels ``[batch]``.
        start: Number of the first step.

    Raises:
        ValueError: At once if the model is not compiled, its optimizer is not built or is
            wrapped twice in loss scaling, or its layers store or compute in more than one
            dtype. At its step if a batch is empty, its images are not finite, or its labels
            are not one integer in range for each image. Nothing was trained on it then.
    """
    _check_model(model)
    return _replay(model, batches, start)


def check_wrapping(optimizer: keras.optimizers.Optimizer) -> None:
    """Refuses loss scaling inside loss scaling, which would scale the loss by both factors.

    Raises:
        ValueError: A ``LossScaleOptimizer`` wraps another one.
    """
    scaler = keras.mixed_precision.LossScaleOptimizer
    if isinstance(optimizer, scaler) and isinstance(optimizer.inner_optimizer, scaler):
        raise ValueError(
            "the optimizer is a LossScaleOptimizer around another LossScaleOptimizer, which "
            "scales the loss twice; wrap a bare optimizer once"
        )


def _replay(
    model: keras.Sequential, batches: Iterable[tuple[Any, Any]], start: int
) -> Iterator[StepReport]:
    for step, (images, labels) in enumerate(batches, start):
        _check_batch(model, images, labels)
        yield _step(model, images, labels, step)


def _step(model: keras.Sequential, images: Any, labels: Any, step: int) -> StepReport:
    optimizer = model.optimizer
    adam = getattr(optimizer, "inner_optimizer", optimizer)
    seen: list[Sighting] = []

    def look(phase: Phase, layer: str, tensor: str, value: Any, dtype: str = "") -> FloatArray:
        numbers = _array(value)
        sighting = _inspect(step, phase, layer, tensor, numbers, dtype or _dtype(value))
        if sighting is not None:
            seen.append(sighting)
        return numbers

    variables, names = model.trainable_variables, _names(model)
    slots = _slots(adam, variables)
    weights = [
        look(Phase.STATE, layer_name, name, variable)
        for (layer_name, name), variable in zip(names, variables, strict=True)
    ]
    for slot in slots:
        look(Phase.STATE, slot.layer, slot.name, slot.variable)

    activations = []
    with tf.GradientTape() as tape:
        tensor = tf.convert_to_tensor(images)
        for layer in model.layers:
            tensor = layer(tensor)
            tape.watch(tensor)
            activations.append(tensor)
        loss = model.loss(labels, tensor)
        scaled = optimizer.scale_loss(loss)
    for layer, activation in zip(model.layers, activations, strict=True):
        look(Phase.FORWARD, layer.name, "activation", activation)
    look(Phase.LOSS, "loss", "loss", loss)

    found = tape.gradient(scaled, [*activations, *(v.value for v in variables)])
    upstream, gradients = found[: len(activations)], found[len(activations) :]
    by_layer: dict[str, list[tuple[str, Any]]] = {}
    for (layer_name, name), gradient in zip(names, gradients, strict=True):
        by_layer.setdefault(layer_name, []).append((name, gradient))
    for layer, gradient in zip(reversed(model.layers), reversed(upstream), strict=True):
        if gradient is not None:
            look(Phase.GRADIENT, layer.name, "activation gradient", gradient)
        for name, own in by_layer.get(layer.name, ()):
            look(Phase.GRADIENT, layer.name, f"{name} gradient", own)

    iterations = int(adam.iterations.numpy())
    optimizer.apply_gradients(zip(gradients, variables, strict=True))
    skipped = optimizer is not adam and int(adam.iterations.numpy()) == iterations
    moments: dict[str, list[FloatArray]] = {}
    for slot in slots:
        numbers = look(Phase.SLOT, slot.layer, slot.name, slot.variable)
        moments.setdefault(slot.kind, []).append(numbers.ravel())
    after = [_array(variable) for variable in variables]
    with np.errstate(invalid="ignore", over="ignore"):
        updates = [new - old for new, old in zip(after, weights, strict=True)]
    for (layer_name, name), update, variable in zip(names, updates, variables, strict=True):
        look(Phase.UPDATE, layer_name, f"{name} update", update, _dtype(variable))
    for (layer_name, name), new, variable in zip(names, after, variables, strict=True):
        look(Phase.WEIGHT, layer_name, name, new, _dtype(variable))
    if optimizer is not adam and not skipped:
        # Scaled gradients near overflow are what loss scaling aims at.
        seen = [bad for bad in seen if bad.phase is not Phase.GRADIENT or bad.nan or bad.infinite]
    pushed = sum(int(np.count_nonzero(_array(gradient))) for gradient in gradients)
    return _report(step, seen, skipped, adam, _dtype(variables[0]), moments, pushed, updates)


def _report(
    step: int,
    seen: list[Sighting],
    skipped: bool,
    adam: keras.optimizers.Optimizer,
    dtype: str,
    moments: dict[str, list[FloatArray]],
    pushed: int,
    updates: list[FloatArray],
) -> StepReport:
    # A skipped step does no harm, unless the weights or slots were bad before it.
    harmless = skipped and all(bad.phase in _PASSING for bad in seen)
    size = sum(update.size for update in updates)
    moved = sum(int(np.count_nonzero(update)) for update in updates)
    first, second = moments.get("momentum"), moments.get("velocity")
    zero = (
        None
        if first is None or second is None
        else sum(
            int(np.count_nonzero((m != 0) & (v == 0))) for m, v in zip(first, second, strict=True)
        )
    )
    bound = _update_bound(adam)
    finite = [np.abs(update[np.isfinite(update)]).max(initial=0) for update in updates]
    return StepReport(
        step=step,
        bad=tuple(dataclasses.replace(bad, handled=harmless) for bad in seen),
        skipped=skipped,
        second_moment_zero=None if zero is None else zero / size,
        largest_update=float(max(finite) / bound) if bound else None,
        should_move=pushed / size,
        moved=moved / size,
        freezing=_freezing(adam, dtype) if not moved and not skipped else (),
    )


def _freezing(optimizer: keras.optimizers.Optimizer, dtype: str) -> tuple[Finding, ...]:
    """The hyper-parameters that make every update zero because the dtype changes them."""
    return tuple(
        finding
        for finding in check_optimizer(optimizer, dtype)
        if finding.severity is Severity.FREEZES
        # A learning rate of 0 freezes as well, but every dtype holds it.
        and finding.cast_value != finding.value
        # It stops the averaged copy of the weights, not the weights.
        and finding.hyper_parameter != "ema_momentum"
    )


@dataclasses.dataclass(frozen=True)
class _Slot:
    layer: str
    name: str
    kind: str
    variable: Any


def _slots(optimizer: keras.optimizers.Optimizer, variables: list[Any]) -> list[_Slot]:
    """The optimizer's slots with the weights they belong to; Keras tells only by names."""
    slots = []
    for slot in optimizer.variables:
        for variable in variables:
            prefix = variable.path.replace("/", "_") + "_"
            if slot.name.startswith(prefix):
                kind = slot.name.removeprefix(prefix)
                layer = variable.path.split("/")[-2]
                slots.append(_Slot(layer, f"{variable.name} {kind}", kind, slot))
    return slots


def _names(model: keras.Sequential) -> list[tuple[str, str]]:
    return [(v.path.split("/")[-2], v.name) for v in model.trainable_variables]


def _update_bound(optimizer: keras.optimizers.Optimizer) -> float | None:
    """The furthest that one step of Adam can move a weight in exact arithmetic.

    ``lr * max(1, (1 - beta_1) / sqrt(1 - beta_2))``: Kingma and Ba, arXiv:1412.6980,
    section 2.1.
    """
    if not isinstance(optimizer, keras.optimizers.Adam):
        return None
    rate = float(_array(optimizer.learning_rate))
    beta_1, beta_2 = float(optimizer.beta_1), float(optimizer.beta_2)
    return rate * max(1.0, (1 - beta_1) / math.sqrt(1 - beta_2))


def _inspect(
    step: int, phase: Phase, layer: str, tensor: str, value: FloatArray, dtype: str
) -> Sighting | None:
    nan = int(np.count_nonzero(np.isnan(value)))
    infinite = int(np.count_nonzero(np.isinf(value)))
    limit = float(tf.as_dtype(dtype).max) / 2
    huge = int(np.count_nonzero(np.abs(value) >= limit)) - infinite
    if not nan + infinite + huge:
        return None
    return Sighting(step, phase, layer, tensor, nan, infinite, huge, value.size)


def _array(value: Any) -> FloatArray:
    """The numbers of a tensor or variable; float64 holds those of every other type exactly."""
    # NumPy's cast: TensorFlow's may flush subnormal numbers to zero.
    return np.asarray(value).astype(np.float64)


def _dtype(value: Any) -> str:
    """Name of the dtype of a tensor or a Keras variable."""
    return str(tf.as_dtype(value.dtype).name)


def _check_model(model: keras.Sequential) -> None:
    if not model.built:
        raise ValueError("the model has no weights yet; give it an Input layer or call it once")
    if not model.compiled or model.optimizer is None:
        raise ValueError("the model is not compiled; call its compile() with an optimizer and loss")
    check_wrapping(model.optimizer)
    if not model.optimizer.built:
        raise ValueError(
            "the optimizer has no slots yet; call "
            "model.optimizer.build(model.trainable_variables) before the replay"
        )
    policies = sorted(
        {
            f"{layer.variable_dtype} weights computed in {layer.compute_dtype}"
            for layer in model.layers
            if layer.weights
        }
    )
    if len(policies) > 1:
        raise ValueError(
            f"the layers have {len(policies)} dtype policies ({'; '.join(policies)}); "
            "give all layers with weights the same one"
        )


def _check_batch(model: keras.Sequential, images: Any, labels: Any) -> None:
    pixels, labels = _array(images), np.asarray(labels)
    classes = model.output_shape[-1]
    if not len(pixels):
        raise ValueError("the batch is empty; give at least one image")
    bad = int(np.count_nonzero(~np.isfinite(pixels)))
    if bad:
        raise ValueError(f"{bad} of {pixels.size} pixels are not finite; clean the images first")
    if labels.shape != pixels.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"the labels are {labels.dtype} of shape {list(labels.shape)}; give one integer for "
            f"each of the {len(pixels)} images"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels run from {labels.min()} to {labels.max()}; the model knows 0 to {classes - 1}"
        )
