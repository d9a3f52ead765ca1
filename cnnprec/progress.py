"""The line that says, while training runs, how far it is and how long it will take."""

from __future__ import annotations

import dataclasses


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
            else f", {_duration(self.seconds_per_step * self.steps_left)} left"
        )
        return (
            f"{self.precision}: run {self.run}/{self.runs}, epoch {self.epoch}/{self.epochs}, "
            f"loss {self.loss:.4f}{left}"
        )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
