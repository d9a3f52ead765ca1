"""The runs of one precision in a session, and why there are no more of them."""

import dataclasses

from cnnprec.precision.precisions import Precision
from cnnprec.records.record import Record
from cnnprec.training.trainer import Trainer


class NotMeasuredError(RuntimeError):
    """A precision was not measured because something else ended the session's turns."""


@dataclasses.dataclass
class Series:
    """The runs of one precision: what is known so far, and the error that stopped them.

    `trainer` is None before it is built and after the record is whole. `clock` has start and end
    of each timed run, in seconds of `time.perf_counter`.
    """

    precision: Precision
    record: Record
    trainer: Trainer | None = None
    clock: list[float] = dataclasses.field(default_factory=list)
    error: BaseException | None = None

    def not_measured(self, runs: int, turns: int, ended_by: "Series | None") -> NotMeasuredError:
        """Says what is missing of so many runs and turns, and which precision ended the session."""
        why = (
            "the session was interrupted"
            if ended_by is None
            else f"{type(ended_by.error).__name__} while {ended_by.precision} was trained: "
            f"{ended_by.error}"
        )
        return NotMeasuredError(
            f"{self.precision}: {len(self.record.rounds)} of {runs} runs were measured"
            + (f" and not all of {turns} turns" if turns else "")
            + f", then the session ended ({why}). Measure again."
        )
