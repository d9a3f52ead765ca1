"""Which precision to use, from what one session measured (docs/which-precision.md has the rule)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

from cnnprec.precision.precisions import PRECISIONS
from cnnprec.records.record import Outcome, Record
from cnnprec.text import Word
from cnnprec.verdicts.equivalence import Equivalence, equivalence
from cnnprec.verdicts.estimate import Estimate, paired
from cnnprec.verdicts.judge_runs import ACCURACY_MARGIN, ENOUGH_SEEDS
from cnnprec.verdicts.statistics import LEVEL, t_quantile
from cnnprec.verdicts.verdict import DEFAULT_TOLERANCE

REFERENCE = "single"
"""The precision that the others are measured by."""

MOST_RUNS = 200
"""More are not advised: longer trainings or more test images tell more."""


class Standing(Word):
    """How sure a recommendation is."""

    SHOWN = "shown"
    """It is faster, and a loss of accuracy of `ACCURACY_MARGIN` is excluded."""
    PROVISIONAL = "provisional"
    """One of the two is likely and not shown."""
    OPEN = "open"
    """There is not enough evidence to name a precision."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One precision beside `REFERENCE`.

    Attributes:
        record: What was measured of it.
        time: Its time per step over the reference's, with bounds of 95 % each, from the timed
            turns or else the runs; None with fewer than two.
        accuracy: Its test accuracy less the reference's, seed by seed; None with fewer than two
            seeds that trained in both.
        memory: Its peak memory over the reference's; None on a CPU, where all share a process.
        objection: Why it is not the answer; empty if it is, or if there is no answer.
    """

    record: Record
    time: Estimate | None
    accuracy: Equivalence | None
    memory: float | None
    objection: str = ""

    @property
    def name(self) -> str:
        """Name of the precision."""
        return self.record.precision.name


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """Which precision to use on the machine that was measured.

    Attributes:
        standing: How sure the answer is.
        precision: The answer; empty if it is open.
        candidates: All precisions but the reference, in the order of the tables.
        reason: Why the answer is open; empty if it is not.
        undecided: The precisions that more runs should decide between.
        runs: How many; None if nothing is undecided, or more than `MOST_RUNS` are needed.
    """

    standing: Standing
    precision: str
    candidates: tuple[Candidate, ...] = ()
    reason: str = ""
    undecided: tuple[str, ...] = ()
    runs: int | None = None


def recommend(records: Iterable[Record]) -> Recommendation | None:
    """Names the fastest precision that trains as well as `REFERENCE`.

    Args:
        records: Of one session, in any order; each with at least one round.

    Returns:
        The recommendation; None if fewer than two precisions were measured.
    """
    by_name = {record.precision.name: record for record in records}
    if len(by_name) < 2:
        return None
    reference = by_name.get(REFERENCE)
    if reference is None:
        return Recommendation(Standing.OPEN, "", reason=f"{REFERENCE} was not measured")
    if not _trained(reference):
        reason = f"{REFERENCE} itself did not train in every run"
        return Recommendation(Standing.OPEN, "", reason=reason)
    names = [name for name in PRECISIONS if name in by_name and name != REFERENCE]
    candidates = tuple(_candidate(by_name[name], reference) for name in names)
    usable = [candidate for candidate in candidates if not candidate.objection]
    untimed = [c.name for c in usable if c.time is None or c.accuracy is None]
    if untimed:
        return Recommendation(
            Standing.OPEN,
            "",
            candidates,
            "fewer than two timed runs tell nothing of the noise",
            (REFERENCE, *untimed),
            ENOUGH_SEEDS,
        )
    hopes = [candidate for candidate in usable if _times_of(candidate).ratio < _FASTER]
    if not hopes:
        objected = _object(candidates, dict.fromkeys(names, f"not faster than {REFERENCE}"))
        return Recommendation(Standing.SHOWN, REFERENCE, objected)
    if not any(_times_of(hope).high < _FASTER for hope in hopes):
        return Recommendation(
            Standing.OPEN,
            "",
            candidates,
            f"{' and '.join(hope.name for hope in hopes)} took less time than {REFERENCE}, but "
            "the noise is larger than the difference",
            (REFERENCE, *(hope.name for hope in hopes)),
            max(ENOUGH_SEEDS, 2 * len(reference.rounds)),
        )
    return _choose(hopes, candidates)


_FASTER = 1 / (1 + DEFAULT_TOLERANCE)


def _choose(hopes: Sequence[Candidate], candidates: Sequence[Candidate]) -> Recommendation:
    """The fastest, or the safest of those that are not shown to be slower than it."""
    fastest = min(hopes, key=lambda hope: _times_of(hope).ratio)
    level = [hope for hope in hopes if not _slower(hope.record, fastest.record)]
    chosen = min(level, key=lambda hope: _risk(hope.record))
    objections = {c.name: f"slower than {chosen.name}" for c in candidates if c is not chosen}
    safer = f"not shown to be faster than {chosen.name}, which is the safer of the two"
    objections |= {c.name: safer for c in level if c is not chosen}
    accuracy = chosen.accuracy
    sure = accuracy is not None and (
        accuracy.count >= ENOUGH_SEEDS and accuracy.low > -ACCURACY_MARGIN
    )
    sure = sure and _times_of(chosen).high < _FASTER
    return Recommendation(
        Standing.SHOWN if sure else Standing.PROVISIONAL,
        chosen.name,
        _object(candidates, objections),
        undecided=() if sure else (REFERENCE, chosen.name),
        runs=None if sure else _runs_to_decide(accuracy),
    )


def _candidate(record: Record, reference: Record) -> Candidate:
    theirs = {entry.run.seed: entry.run for entry in reference.rounds}
    changes = [
        entry.run.test_accuracy - theirs[entry.run.seed].test_accuracy
        for entry in record.rounds
        if entry.run.outcome is Outcome.TRAINED and entry.run.seed in theirs
    ]
    accuracy = equivalence(changes, ACCURACY_MARGIN) if len(changes) > 1 else None
    objection = ""
    if not _trained(record):
        objection = "did not train in every run"
    elif accuracy is not None and accuracy.high < -ACCURACY_MARGIN:
        objection = f"less accurate than {REFERENCE}"
    mine, base = _peak(record), _peak(reference)
    known = record.environment.device_kind != "cpu" and mine and base
    return Candidate(
        record, _ratio(record, reference), accuracy, mine / base if known else None, objection
    )


def _ratio(record: Record, reference: Record) -> Estimate | None:
    """The time of one precision over another's of the same session."""
    pairs = list(zip(_seconds(record), _seconds(reference), strict=False))
    if len(pairs) < 2:
        return None
    mine, theirs = zip(*pairs, strict=True)
    return paired(theirs, mine, tolerance=DEFAULT_TOLERANCE)


def _seconds(record: Record) -> Sequence[float]:
    if record.turns is not None:
        return record.turns.step_seconds
    return [entry.seconds for entry in record.rounds if entry.seconds is not None]


def _times_of(candidate: Candidate) -> Estimate:
    assert candidate.time is not None  # noqa: S101 - those without a time were turned away
    return candidate.time


def _slower(record: Record, other: Record) -> bool:
    ratio = _ratio(record, other)
    return ratio is not None and ratio.low > 1 + DEFAULT_TOLERANCE


def _trained(record: Record) -> bool:
    return all(entry.run.outcome is Outcome.TRAINED for entry in record.rounds)


def _peak(record: Record) -> int:
    return max(entry.peak_memory_bytes or 0 for entry in record.rounds)


def _risk(record: Record) -> tuple[bool, bool, int]:
    """Orders precisions from safe to risky: float32 weights, no loss scale, the table's order."""
    precision = record.precision
    place = list(PRECISIONS).index(precision.name)
    return precision.variable_dtype != "float32", precision.loss_scaling, place


def _runs_to_decide(accuracy: Equivalence | None) -> int | None:
    """Runs that should tell on which side of the margin the accuracy lies, spread as now."""
    if accuracy is None:
        return ENOUGH_SEEDS
    deviation = (accuracy.high - accuracy.mean) / t_quantile(1 - LEVEL, accuracy.count - 1)
    distance = abs(accuracy.mean + ACCURACY_MARGIN) / t_quantile(1 - LEVEL, ENOUGH_SEEDS - 1)
    wanted = math.inf if distance == 0 else accuracy.count * (deviation / distance) ** 2
    return max(ENOUGH_SEEDS, math.ceil(wanted)) if wanted <= MOST_RUNS else None


def _object(
    candidates: Iterable[Candidate], objections: dict[str, str]
) -> tuple[Candidate, ...]:
    return tuple(
        dataclasses.replace(c, objection=c.objection or objections.get(c.name, ""))
        for c in candidates
    )
