"""The line that says, while training runs, how far it is and how long it will take."""

import time
from collections.abc import Callable

from cnnprec.precision.precisions import Precision
from cnnprec.text import duration
from cnnprec.workload.profiles import TrainingConfig

_PROGRESS_SECONDS = 0.5  # nobody reads faster; the line costs up to a millisecond

Show = Callable[[str | None], None]  # shows how far a session is, or wipes the line (None)


class ProgressLine:
    """Turns a trainer's progress into lines for the terminal, not too many of them."""

    def __init__(self, show: Show | None, config: TrainingConfig) -> None:
        self.shown = show is not None
        self.say: Show = show or (lambda _: None)  # shows a stage that has no figures of its own
        self._config = config
        self._place = ""
        self._steps_in_all = 0
        self._steps = [0, 0]  # of the runs before this one, and of this one
        self._seconds = [0.0, 0.0]
        self._start = 0.0
        self._last_shown = 0.0

    def start_run(self, precision: Precision, run: int, *, runs: int, precisions: int) -> None:
        """Begins a run, counted from 0, of so many runs of each of so many precisions."""
        self._place = f"{precision}: run {run + 1}/{runs}"
        self._steps_in_all = self._config.steps * runs * precisions
        self._steps = [sum(self._steps), 0]
        self._seconds = [sum(self._seconds), 0.0]
        self._start = time.perf_counter()

    def update(self, epoch: int, steps_done: int, loss: float) -> None:
        """Takes the progress of a trainer; see `cnnprec.training.trainer.OnProgress`."""
        self._steps[1] = steps_done
        self._seconds[1] = time.perf_counter() - self._start
        steps = sum(self._steps)
        left = sum(self._seconds) / steps * (self._steps_in_all - steps)
        place = f"{self._place}, epoch {epoch + 1}/{self._config.epochs}"
        self._tell(f"{place}, loss {loss:.4f}, {duration(left)} left")

    def show_turn(self, turn: int, turns: int, seconds: float) -> None:
        """Shows how far the turns are, not too often, after so many seconds of them."""
        self._tell(f"turn {turn}/{turns}, {duration(seconds / turn * (turns - turn))} left")

    def wipe(self) -> None:
        """Leaves an empty line behind."""
        self.say(None)

    def _tell(self, progress: str) -> None:
        now = time.perf_counter()
        if now - self._last_shown >= _PROGRESS_SECONDS:
            self._last_shown = now
            self.say(progress)
