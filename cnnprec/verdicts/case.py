"""One precision in a comparison: its records before and now, and their figures."""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from cnnprec.machine.gpu_state import GPU_CYCLE, GpuState
from cnnprec.records.record import Record, TrainingRun
from cnnprec.verdicts.regression import State
from cnnprec.verdicts.statistics import fastest_third, geometric_mean, standard_error
from cnnprec.verdicts.verdict import Limits, Metric

Records = Mapping[str, Record]  # what one session measured, by the name of the precision
States = tuple[Sequence[State], Sequence[State]]  # of the old and of the new sessions

ENOUGH = 5  # baseline sessions that a verdict on a size needs


@dataclasses.dataclass(frozen=True)
class GrowthLimit:
    """A number that every round has and that may grow only so much."""

    name: str
    field: str  # ``"step_seconds"``, ``"mean_step_seconds"`` or a field of `Round`
    share: float  # of the error that one comparison may make; all add up to 1, whatever the device
    metric: Metric = Metric.SPEED
    narrowest: Limits | None = None  # narrower limits of its metric are widened to it

    def widened(self, limits: Limits) -> Limits:
        """The limits that hold for this number, from those of its metric."""
        least = self.narrowest or limits
        return Limits(max(limits.tolerance, least.tolerance), max(limits.margin, least.margin))


# Each precision's time is compared beside the others, and once the mean of all of them, which finds
# what slows them all.
TIME = GrowthLimit("time per step", "step_seconds", share=0.5)
# What only some turns lose is not in it: that is in the mean of all turns.
MEAN_TIME = GrowthLimit(
    "mean time per step", "mean_step_seconds", share=0.05, narrowest=Limits(0.10, 0.25)
)
ALL_TIMES = GrowthLimit("time per step of all", "step_seconds", share=0.3)
MEMORY = GrowthLimit("peak memory", "peak_memory_bytes", share=0.05, metric=Metric.MEMORY)


def figure(record: Record, field: str) -> float | None:
    """The session's one figure (docs/comparing.md); None if a turn or round lacks it.

    The geometric mean over rounds, or over the fastest third of the turns; the mean time is the
    arithmetic mean of all turns, and there is none of whole runs.
    """
    if not (values := _values(record, field)):
        return None
    return statistics.fmean(values) if field == MEAN_TIME.field else geometric_mean(values)


def _values(record: Record, field: str) -> list[float] | None:
    """The turns or rounds that a figure is made of; None if one lacks it or there is none."""
    if field == MEMORY.field:
        values = [getattr(entry, field) for entry in record.rounds]
    elif record.config.turns:
        values = list(record.turns.step_seconds) if record.turns else []
        values = fastest_third(values) if field == TIME.field else values
    elif field == MEAN_TIME.field:
        values = []
    else:
        steps = record.config.steps
        values = [entry.seconds and entry.seconds / steps for entry in record.rounds]
    return None if not values or None in values else values


@dataclasses.dataclass(frozen=True)
class Case:
    """One precision: the sessions before, and the session now or the sessions paired."""

    name: str  # of the precision; empty for the process as a whole
    old: tuple[Record, ...]
    new: tuple[Record, ...]  # of the session now; of several, each one is paired with an old one

    @property
    def paired(self) -> bool:
        """Whether each new session ran next to an old one."""
        return len(self.new) > 1

    def states(self) -> States | None:
        """The machine's states, old and new; None where they cannot be used."""
        known = list(filter(None, map(machine_state, (*self.old, *self.new))))
        if self.why_no_states() or len(known) < len(self.old) + len(self.new):
            return None
        return known[: len(self.old)], known[len(self.old) :]

    def why_no_states(self) -> str:
        """Why turns are compared without the calibrators; empty where they are used."""
        every = [record for record in (*self.old, *self.new) if record.turns]
        rows = {tuple(name for name, _ in r.turns.calibrators) for r in every if r.turns}
        if len(rows) > 1:
            return "not all sessions have the same calibrators"
        # Calibrators rest on Python and NumPy: where these changed, another work is timed.
        for name in ("python", "numpy"):
            found = list(dict.fromkeys(getattr(record.environment, name) for record in every))
            if len(found) > 1:
                return f"they rest on {name}, which changed ({', '.join(found)})"
        return ""

    def logs(self, size: GrowthLimit) -> tuple[list[float], list[float]]:
        """Logarithms of the figures of the old and of the new sessions; empty if not known."""
        old, new = (
            [math.log(value) for r in records if (value := figure(r, size.field)) is not None]
            for records in (self.old, self.new)
        )
        whole = len(new) == len(self.new) and (len(old) == len(self.old) or not self.paired)
        return (old, new) if whole and old else ([], [])

    def error(self, size: GrowthLimit) -> float:
        """How well the new session's turns or rounds tell its figure."""
        values = _values(self.new[0], size.field)
        fewer = size.field == TIME.field and self.new[0].config.turns > 0
        return standard_error(values, 1 / 3 if fewer else 1.0) if values else 0.0


@dataclasses.dataclass(frozen=True)
class Together(Case):
    """All precisions as one: the mean of the logarithms over those that each session has."""

    parts: tuple[Case, ...]

    def logs(self, size: GrowthLimit) -> tuple[list[float], list[float]]:
        """As those of a precision."""
        sides = zip(*(part.logs(size) for part in self.parts), strict=True)
        old, new = ([statistics.fmean(row) for row in zip(*side, strict=False)] for side in sides)
        return old, new

    def error(self, size: GrowthLimit) -> float:
        """As that of a precision."""
        return math.hypot(*(part.error(size) for part in self.parts)) / len(self.parts)


def machine_state(record: Record) -> State | None:
    """How slow the machine was, as `cnnprec.verdicts.regression` has it; None if not known."""
    if not record.config.turns or record.turns is None or not record.turns.calibrators:
        return None
    times = {name: math.log(seconds) for name, seconds in record.turns.calibrators}
    cycle = [times.pop(GPU_CYCLE)] if GPU_CYCLE in times else []
    return (*([statistics.fmean(times.values())] if times else []), *cycle)


def gpu_states(records: Iterable[Record]) -> list[GpuState]:
    """The states of the GPU in the rounds and turns of these records; none without a GPU."""
    timed = [part for record in records for part in (*record.rounds, record.turns)]
    return [part.state for part in timed if part and part.state]


def process_case(old: Sequence[Records], new: Sequence[Records]) -> Case:
    """The process as a whole: of each session the record in which its memory was largest."""
    sides = (
        tuple(max(s.values(), key=lambda r: figure(r, MEMORY.field) or 0.0) for s in sessions)
        for sessions in (old, new)
    )
    return Case("", *sides)


def runs(records: Iterable[Record]) -> list[TrainingRun]:
    """All runs of these records."""
    return [entry.run for record in records for entry in record.rounds]


def all_runs_by_seed(records: Iterable[Record]) -> dict[int, list[TrainingRun]]:
    """The runs of all records by their seed."""
    found: dict[int, list[TrainingRun]] = {}
    for run in runs(records):
        found.setdefault(run.seed, []).append(run)
    return found
