"""What is kept of a measurement: frozen values and their JSON form.

Units stand in the field names; NaN and infinity are the words of `cnnprec.records.json_numbers`.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec

from cnnprec.machine.gpu_state import GpuState
from cnnprec.precision.precisions import Precision
from cnnprec.records.json_numbers import decode, encode
from cnnprec.records.limits import StepLimits
from cnnprec.records.numerics import Numerics
from cnnprec.text import Word
from cnnprec.workload.profiles import TrainingConfig

SCHEMA_VERSION = 7
"""Version of `Record`'s layout. A file of each older one is in ``tests/data``.

1. The first.
2. `Environment.code` and `Environment.commit`; `Round.state`.
3. `Environment.cpu_features`; `Environment.cpu_model` names family and model too.
4. `Record.companions`.
5. `TrainingConfig.turns`; `Record.turns`.
6. `Record.numerics`; the outcome ``not_learning``; the last three of `Environment`.
7. `Record.limits`; `Numerics.binades`; `TrainingConfig.width`; `Precision.xla`;
   `Round.joules`; `TrainingConfig.strategy`; `Environment.replicas`; `Turns.one_device_seconds`;
   `Record.stages`.
"""

MOST_SCALE_CHANGES = 64  # a scaler gone wrong changes it in every step; a record stays small

# What reading accepts; msgspec names the field that is outside. A time of more than 30 years or
# a count beyond 64 bits is a damaged file, and would overflow where it is judged.
_Seconds = Annotated[float, msgspec.Meta(ge=1e-12, le=1e9)]
_Amount = Annotated[float, msgspec.Meta(ge=0, le=1e15)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Positive = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


class Outcome(Word):
    """How a training run ended."""

    TRAINED = "trained"  # the loss and all weights are finite, and the weights were still moving
    DIVERGED = "diverged"  # the last loss or a weight is not finite
    FROZEN = "frozen"  # no bit of any weight changed in the last epoch, though gradients are not 0
    NOT_LEARNING = "not_learning"  # moving, but after `LEARNED_BY` steps no better than guessing


LEARNED_BY = 40  # steps of 32 images, as quick has, after which sound training beats guessing


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """The result of one training, clocks apart."""

    seed: _Count  # of the initial weights and of the order of the images
    outcome: Outcome
    losses: tuple[float, ...]  # mean training loss of each epoch
    first_losses: tuple[float, ...]  # of the first steps, at most 16
    test_accuracy: float  # fraction of the test images; an all-NaN output counts as class 0
    first_bad_step: _Count | None  # the first, from 0 over the whole run, whose loss is not finite
    # ``(step, scale)`` of the first step and of each change; empty without loss scaling. Of more
    # than `MOST_SCALE_CHANGES` it holds the first ones and the last.
    loss_scales: tuple[tuple[_Count, float], ...]
    weights_sha256: str  # of all weights at the end, in layer order

    def __post_init__(self) -> None:
        if not self.losses:
            raise ValueError("losses is empty; a run has at least one epoch")
        if not 0 <= self.test_accuracy <= 1:
            raise ValueError(f"test_accuracy {self.test_accuracy} is not a fraction of 1")

    @property
    def final_loss_scale(self) -> float | None:
        """The loss scale of the last step; None without loss scaling."""
        return self.loss_scales[-1][1] if self.loss_scales else None


@dataclasses.dataclass(frozen=True)
class Round:
    """One timed training; None is what was not measured or what the system does not tell."""

    run: TrainingRun  # what the training computed
    seconds: _Seconds | None  # wall time of the training alone
    cpu_seconds: _Seconds | None  # CPU time of all threads of the process over the same span
    peak_memory_bytes: _Positive | None  # of the process on a CPU, allocated on the device on a GPU
    state: GpuState | None = None  # what the GPU went through, by NVML
    joules: _Amount | None = None  # used by the GPU's board, or by all processors


@dataclasses.dataclass(frozen=True)
class Turns:
    """The timed turns of one precision: as many short stretches of training."""

    steps: _Positive  # of training in each turn
    seconds: tuple[_Seconds, ...]  # wall time of each turn, in the order in which they ran
    # Name and geometric mean of the seconds of each; the same for all precisions of a session.
    calibrators: tuple[tuple[str, _Seconds], ...]
    warm_up: _Count  # turns before the first one that counts
    steady: bool  # whether the turns had stopped becoming faster by then
    state: GpuState | None = None  # what the GPU went through, by NVML
    # The same steps on one device in the same turns, where several replicas shared the batches.
    one_device_seconds: tuple[_Seconds, ...] = ()

    def __post_init__(self) -> None:
        if not self.seconds:
            raise ValueError("0 turns; give at least 1")

    @property
    def step_seconds(self) -> tuple[float, ...]:
        """Wall time per step of each turn, in seconds."""
        return tuple(seconds / self.steps for seconds in self.seconds)


@dataclasses.dataclass(frozen=True)
class DataInfo:
    """Which images were used: name, folder (or "generated"), SHA-256 of the whole set."""

    name: str
    source: str
    digest: str


@dataclasses.dataclass(frozen=True)
class Environment:
    """The machine and the software that a measurement was taken with.

    None is what does not apply (a driver without a GPU) or is not told, as the ``variables`` of
    older records; their 0 threads are the choice of TensorFlow, one a core. ``code`` is a digest of
    this project's source files; ``commit``, ``host`` and ``gpu_uuid`` are names for people.
    """

    device_kind: str
    device_model: str
    device_count: _Count
    device_memory_bytes: _Count | None
    cpu_model: str
    cpu_features: tuple[str, ...] | None
    usable_cores: _Count
    system: str
    architecture: str
    kernel: str
    python: str
    numpy: str
    keras: str
    tensorflow: str
    cuda: str | None
    cudnn: str | None
    driver: str | None
    vbios: str | None
    power_limit_watts: float | None
    mig_mode: str | None
    onednn: bool
    intra_op_threads: _Count
    inter_op_threads: _Count
    op_determinism: bool
    code: str
    commit: str | None
    variables: tuple[str, ...] | None = None
    host: str | None = None
    gpu_uuid: str | None = None
    replicas: _Positive = 1  # that share each batch


@dataclasses.dataclass(frozen=True)
class Record:
    """Everything that one precision's benchmark found out."""

    precision: Precision  # whole, so that a record explains itself
    config: TrainingConfig
    data: DataInfo
    environment: Environment
    # Names of the other precisions that shared the process, sorted. Their models stay in memory
    # and share the caches, so they belong to the workload.
    companions: tuple[str, ...]
    jit_compiled: bool  # whether XLA compiled the training step, after Keras' rule
    # Wall time of building, tracing and compiling, with the steps of the first execution; None
    # where timing was disabled.
    warm_up_seconds: _Seconds | None
    rounds: tuple[Round, ...]  # the whole trainings in the order in which they ran
    turns: Turns | None = None
    diagnosis: str | None = None  # why the first run that did not train went wrong
    numerics: Numerics | None = None  # None where it was not asked
    limits: StepLimits | None = None  # its step beside the limits of the device; likewise
    # Wall time in seconds of the session's stages until this record was whole, in their order.
    stages: tuple[tuple[str, _Amount], ...] = ()
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def blank(
        cls,
        precision: Precision,
        precisions: Iterable[Precision],
        config: TrainingConfig,
        data: DataInfo,
        environment: Environment,
    ) -> "Record":
        """What is known of a precision among the others before anything is measured."""
        companions = tuple(sorted(p.name for p in precisions if p != precision))
        return cls(precision, config, data, environment, companions, False, None, ())

    @property
    def is_whole(self) -> bool:
        """Whether all runs and turns that were asked for are there."""
        return self.has(self.config.runs, self.config.turns)

    def has(self, runs: int, turns: int) -> bool:
        """Whether so many runs and turns are there."""
        taken = len(self.turns.seconds) if self.turns else 0
        return len(self.rounds) >= runs and taken >= turns

    def to_dict(self) -> dict[str, Any]:
        """This record as JSON types."""
        plain: dict[str, Any] = encode(msgspec.to_builtins(self))
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Record":
        """Reads back what `to_dict` wrote; ValueError says what is wrong with it, and where."""
        version: Any = plain.get("schema_version")
        if version not in range(1, SCHEMA_VERSION + 1):
            raise ValueError(
                f"record of schema version {version!r}; this cnnprec reads versions 1 to "
                f"{SCHEMA_VERSION}. Read it with the cnnprec that wrote it."
            )
        try:
            decoded = {"companions": (), **plain, "schema_version": SCHEMA_VERSION}
            for newer in range(version + 1, 4):
                decoded["environment"] = {**decoded["environment"], **_NEW_IN[newer]}
            decoded["rounds"] = [
                {**r, "run": _decoded(r["run"], ("losses", "first_losses"), ("loss_scales",))}
                for r in plain["rounds"]
            ]
            if numerics := plain.get("numerics"):
                decoded["numerics"] = _decoded(numerics, ("losses",), ("probes", "tensors"))
            return msgspec.convert(decoded, cls)
        except (msgspec.ValidationError, LookupError, TypeError) as error:
            raise ValueError(f"not a record of schema version {version}: {error}") from error


# What `Environment` got in versions 2 and 3, with the value that older records have.
_NEW_IN: Mapping[int, Mapping[str, Any]] = {
    2: {"code": "unknown", "commit": None},
    3: {"cpu_features": None},
}


def _decoded(
    plain: Mapping[str, Any], lists: Iterable[str], tables: Iterable[str]
) -> dict[str, Any]:
    """A copy with the numbers of these fields decoded; the names that begin rows of tables stay."""
    numbers = {name: list(map(decode, plain[name])) for name in lists}
    rows = {name: [[row[0], *map(decode, row[1:])] for row in plain[name]] for name in tables}
    return {**plain, **numbers, **rows}
