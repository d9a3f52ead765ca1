"""Which precision to use, from what one session measured (docs/which-precision.md has the rule)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

from cnnprec.precision.precisions import PRECISIONS
from cnnprec.records.record import Outcome, Record
from cnnprec.verdicts.equivalence import Equivalence, equivalence
from cnnprec.verdicts.estimate import Estimate, paired
from cnnprec.verdicts.judge_runs import ACCURACY_MARGIN, ENOUGH_SEEDS
from cnnprec.verdicts.verdict import DEFAULT_TOLERANCE

REFERENCE = "single"
"""The precision that the others are measured by."""

_FASTER = 1 / (1 + DEFAULT_TOLERANCE)


_NO_TIME = Estimate(math.inf, 0.0, math.inf, 1.0, math.inf, count=0)
_NO_ACCURACY = Equivalence(0.0, -1.0, 1.0, equivalent=False, count=0)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One precision beside `REFERENCE`.

    Attributes:
        name: Name of the precision.
        record: What was measured of it.
        time: Its time over the reference's, from the timed turns or else the runs; with a count of
            0 where there are fewer than two.
        accuracy: Its test accuracy less the reference's, seed by seed; likewise.
        objection: Why it is not the answer; empty if it is, or if there is no answer.
    """

    name: str
    record: Record
    time: Estimate
    accuracy: Equivalence
    objection: str = ""


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """Which precision to use on the machine that was measured.

    Attributes:
        precision: The answer; empty if there is not enough evidence for one.
        sure: Whether it is shown to be faster, and to lose less than `ACCURACY_MARGIN`.
        candidates: All precisions but the reference, in the order of the tables.
        reason: Why there is no answer.
        undecided: The precisions that more runs should decide between.
        runs: How many runs of them; 0 if runs are not what is missing.
    """

    precision: str
    sure: bool
    candidates: tuple[Candidate, ...] = ()
    reason: str = ""
    undecided: tuple[str, ...] = ()
    runs: int = 0


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
    if reference is None or not _trained(reference):
        problem = "was not measured" if reference is None else "itself did not train in every run"
        return Recommendation("", False, reason=f"{REFERENCE} {problem}")
    names = [name for name in PRECISIONS if name in by_name and name != REFERENCE]
    candidates = [_candidate(by_name[name], reference) for name in names]
    usable = [c for c in candidates if not c.objection]
    unknown = [c for c in usable if not (c.time.count and c.accuracy.count)]
    hopes = [c for c in usable if c.time.ratio < _FASTER]
    runs = max(ENOUGH_SEEDS, 2 * len(reference.rounds))
    if not (unknown or hopes):
        objections = dict.fromkeys(names, f"not faster than {REFERENCE}")
        return Recommendation(REFERENCE, True, _object(candidates, objections))
    if not unknown and any(hope.time.high < _FASTER for hope in hopes):
        return _choose(hopes, candidates, runs)
    unsure = [c.name for c in unknown or hopes]
    reason = f"{' and '.join(unsure)} took less time, but the noise is larger than that"
    if unknown:
        reason = "fewer than two timed runs do not tell the noise"
    return Recommendation("", False, tuple(candidates), reason, (REFERENCE, *unsure), runs)


def _choose(hopes: list[Candidate], candidates: list[Candidate], runs: int) -> Recommendation:
    """The fastest, or the safest of those that are not shown to be slower than it."""
    fastest = min(hopes, key=lambda hope: hope.time.ratio).record
    level = [c for c in hopes if _ratio(c.record, fastest).low <= 1 + DEFAULT_TOLERANCE]
    chosen = min(level, key=lambda hope: _risk(hope.record))
    name, accuracy = chosen.name, chosen.accuracy
    objections = {c.name: f"slower than {name}" for c in candidates}
    safer = f"not shown to be faster than {name}, which is the safer of the two"
    objections |= {c.name: safer for c in level}
    del objections[name]
    found = _object(candidates, objections)
    excluded = accuracy.count >= ENOUGH_SEEDS and accuracy.low > -ACCURACY_MARGIN
    if excluded and chosen.time.high < _FASTER:
        return Recommendation(name, True, found)
    return Recommendation(name, False, found, undecided=(REFERENCE, name), runs=runs)


def _candidate(record: Record, reference: Record) -> Candidate:
    theirs = {entry.run.seed: entry.run for entry in reference.rounds}
    changes = [
        entry.run.test_accuracy - theirs[entry.run.seed].test_accuracy
        for entry in record.rounds
        if entry.run.outcome is Outcome.TRAINED and entry.run.seed in theirs
    ]
    accuracy = equivalence(changes, ACCURACY_MARGIN) if len(changes) > 1 else _NO_ACCURACY
    objection = f"less accurate than {REFERENCE}" if accuracy.high < -ACCURACY_MARGIN else ""
    if not _trained(record):
        objection = "did not train in every run"
    name = record.precision.name
    return Candidate(name, record, _ratio(record, reference), accuracy, objection)


def _trained(record: Record) -> bool:
    return all(entry.run.outcome is Outcome.TRAINED for entry in record.rounds)


def _ratio(record: Record, other: Record) -> Estimate:
    """The time of one precision over another's of the same session."""
    pairs = list(zip(_seconds(record), _seconds(other), strict=False))
    if len(pairs) < 2:
        return _NO_TIME
    mine, theirs = zip(*pairs, strict=True)
    return paired(theirs, mine, tolerance=DEFAULT_TOLERANCE)


def _seconds(record: Record) -> Sequence[float]:
    if record.turns is not None:
        return record.turns.step_seconds
    return [entry.seconds for entry in record.rounds if entry.seconds is not None]


def _risk(record: Record) -> tuple[bool, bool, int]:
    """Orders precisions from safe to risky: float32 weights, no loss scale, the table's order."""
    precision = record.precision
    place = list(PRECISIONS).index(precision.name)
    return precision.variable_dtype != "float32", precision.loss_scaling, place


def _object(
    candidates: Iterable[Candidate], objections: Mapping[str, str]
) -> tuple[Candidate, ...]:
    return tuple(
        dataclasses.replace(c, objection=c.objection or objections.get(c.name, ""))
        for c in candidates
    )
