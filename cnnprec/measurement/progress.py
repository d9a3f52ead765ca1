"""The line that says, while training runs, how far it is and how long it will take."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

from cnnprec.precision.precisions import Precision
from cnnprec.text import duration
from cnnprec.workload.profiles import TrainingConfig

# A terminal cannot be read faster; the line costs up to a millisecond.
_PROGRESS_SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far the benchmarks are; they take turns, one run each.

    Attributes:
        precision: Name of the precision.
        run: Its run under way, from 1.
        runs: Its runs in all.
        epoch: The epoch under way, from 1.
        epochs: Epochs in a run.
        loss: Mean training loss of the epoch so far.
        seconds_per_step: Mean wall time of all steps so far; None before any was timed.
        steps_left: Steps still to come in this and all later runs, of all precisions.
    """

    precision: str
    run: int
    runs: int
    epoch: int
    epochs: int
    loss: float
    seconds_per_step: float | None
    steps_left: int

    def __str__(self) -> str:
        left = (
            ""
            if self.seconds_per_step is None
            else f", {duration(self.seconds_per_step * self.steps_left)} left"
        )
        return (
            f"{self.precision}: run {self.run}/{self.runs}, epoch {self.epoch}/{self.epochs}, "
            f"loss {self.loss:.4f}{left}"
        )


@dataclasses.dataclass(frozen=True)
class TurnProgress:
    """How far the timed turns are.

    Attributes:
        turn: Turns done.
        turns: Turns in all.
        seconds_left: Wall time that the others will take.
    """

    turn: int
    turns: int
    seconds_left: float

    def __str__(self) -> str:
        return f"turn {self.turn}/{self.turns}, {duration(self.seconds_left)} left"


class ProgressLine:
    """Turns a trainer's progress into lines for the terminal, not too many of them."""

    def __init__(
        self,
        show: Callable[[Progress | TurnProgress | None], None] | None,
        config: TrainingConfig,
    ) -> None:
        self._show = show
        self._config = config
        self._precision = ""
        self._run = 0
        self._runs = 0
        self._steps = 0
        # Of the runs before this one, and of this one.
        self._before = (0, 0.0)
        self._now = (0, 0.0)
        self._start = 0.0
        self._last_shown = 0.0

    @property
    def shown(self) -> bool:
        """Whether anybody sees it."""
        return self._show is not None

    def start_run(self, precision: Precision, run: int, *, runs: int, precisions: int) -> None:
        """Begins a run, counted from 0, of so many runs of each of so many precisions."""
        self._precision = precision.name
        self._run = run
        self._runs = runs
        self._steps = self._config.steps * runs * precisions
        self._before = self._so_far()
        self._now = (0, 0.0)
        self._start = time.perf_counter()

    def update(self, epoch: int, steps_done: int, loss: float) -> None:
        """Takes the progress of a trainer; see `cnnprec.training.trainer.OnProgress`."""
        now = time.perf_counter()
        self._now = (steps_done, now - self._start)
        if self._show is None or now - self._last_shown < _PROGRESS_SECONDS:
            return
        self._last_shown = now
        steps, seconds = self._so_far()
        self._show(
            Progress(
                precision=self._precision,
                run=self._run + 1,
                runs=self._runs,
                epoch=epoch + 1,
                epochs=self._config.epochs,
                loss=loss,
                seconds_per_step=seconds / steps,
                steps_left=self._steps - steps,
            )
        )

    def show_turn(self, turn: int, turns: int, seconds: float) -> None:
        """Shows how far the turns are, not too often, after so many seconds of them."""
        now = time.perf_counter()
        if self._show is None or now - self._last_shown < _PROGRESS_SECONDS:
            return
        self._last_shown = now
        self._show(TurnProgress(turn, turns, seconds / turn * (turns - turn)))

    def wipe(self) -> None:
        """Leaves an empty line behind."""
        if self._show is not None:
            self._show(None)

    def _so_far(self) -> tuple[int, float]:
        """Steps trained, and the seconds that they took."""
        return self._before[0] + self._now[0], self._before[1] + self._now[1]
