"""How much to train: the named profiles and the rules that their numbers obey."""

import dataclasses
import random
from collections.abc import Mapping

FEWEST_TURNS = 10  # fewer say next to nothing about their own noise
# More would train for years; the steps of a run are counted in 32 bits.
_MOST = {"runs": 10**6, "turns": 10**6, "steps": 2**31 - 1}
_AMOUNTS = ("train_samples", "test_samples", "epochs", "runs", "batch_size", "width")

JIT_CHOICES = ("auto", "on", "off", "best", "both")
STRATEGIES = ("none", "mirrored", "multiworker")


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Everything but the precision and the data that decides what a training computes.

    A number out of its range is a ValueError that names the option to change.
    """

    profile: str  # that the numbers started from
    train_samples: int  # images, counted from the start of the set
    test_samples: int
    epochs: int
    runs: int  # trainings per precision, each from fresh weights with a seed of its own
    batch_size: int  # images per step; those left over sit out that epoch, other ones in each
    # ``"auto"`` is Keras' own rule, ``"on"`` or ``"off"`` XLA or not; ``"best"`` keeps the faster
    # one of each precision, ``"both"`` measures both.
    jit: str = "auto"
    seed: int = 12  # of the first run; run ``i`` uses ``seed + i``
    turns: int = 0  # short timed ones of every precision, compared in place of the runs' times
    width: int = 1  # factor on the channels and units of every hidden layer of the model
    strategy: str = "none"  # what shares each batch: one device, all of this host or of several

    def __post_init__(self) -> None:
        problems = []
        for name in (*_AMOUNTS, "turns"):
            value, most = getattr(self, name), _MOST.get(name, 10**9)
            if value > most or (value < 1 and name in _AMOUNTS):
                bound = f"at most {most}" if value > most else "at least 1"
                problems.append(f"--{name.replace('_', '-')} {value}: must be {bound}")
        if self.turns != 0 and self.turns < FEWEST_TURNS:
            problems.append(
                f"--turns {self.turns}: must be 0 (compare whole runs) or at least {FEWEST_TURNS}"
            )
        if not problems and self.batch_size > self.train_samples:
            problems.append(
                f"--batch-size {self.batch_size}: larger than the {self.train_samples} training "
                "images; use a smaller batch or more --train-samples"
            )
        if not problems and self.steps > (most := _MOST["steps"]):
            problems.append(
                f"--epochs {self.epochs}: steps a run {self.steps}: must be at most {most}"
            )
        for name, choices in (("jit", JIT_CHOICES), ("strategy", STRATEGIES)):
            if (value := getattr(self, name)) not in choices:
                problems.append(f"--{name} {value}: choose one of {', '.join(choices)}")
        if (self.jit, self.strategy) == ("best", "multiworker"):
            problems.append("--jit best: several hosts may choose differently; give --jit both")
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""
        return self.train_samples // self.batch_size

    @property
    def steps(self) -> int:
        """Optimizer steps in one run."""
        return self.steps_per_epoch * self.epochs

    @property
    def steps_per_execution(self) -> int:
        """Steps that run on the device without returning to Python.

        A divisor of `steps_per_epoch`, or Keras would overshoot the epoch; up to 100 for Ctrl-C
        and the progress line. Where the largest is below 10, the whole epoch, which costs less.
        """
        steps = self.steps_per_epoch
        best = max(n for n in range(1, min(steps, 100) + 1) if steps % n == 0)
        return best if best >= 10 else steps

    def order_seed(self) -> int:
        """A new seed of the order of the precisions; 0 where several hosts have to agree on it."""
        return 0 if self.strategy == "multiworker" else random.randrange(10**6)  # noqa: S311

    def override(self, **numbers: int | str | None) -> "TrainingConfig":
        """A copy with every argument that is not None put in place."""
        return dataclasses.replace(
            self,
            **{name: value for name, value in numbers.items() if value is not None},  # type: ignore[arg-type]
        )


PROFILES: Mapping[str, TrainingConfig] = {
    # Chosen so that all precisions together stay under two minutes on two CPU cores.
    "quick": TrainingConfig(
        "quick", train_samples=640, test_samples=500, epochs=2, runs=3, batch_size=32, turns=60
    ),
    # The numbers of the notebook that this suite replaces.
    "notebook": TrainingConfig(
        "notebook", train_samples=60_000, test_samples=10_000, epochs=5, runs=3, batch_size=32
    ),
}
"""The profiles by name; the first is the default."""


def get_profile(name: str) -> TrainingConfig:
    """Returns the profile of this name; a ValueError lists the names that exist."""
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}. Known profiles: {', '.join(PROFILES)}.")
    return PROFILES[name]
