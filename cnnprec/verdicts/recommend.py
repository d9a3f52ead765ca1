"""Which precision to use (docs/which-precision.md has the rule), and from which batch on."""

import dataclasses
import math
from collections.abc import Iterable, Sequence

from cnnprec.precision.precisions import KNOWN
from cnnprec.records.record import Outcome, Record
from cnnprec.records.scaling import Point, Study
from cnnprec.verdicts.estimate import Change, Estimate, mean_change, paired
from cnnprec.verdicts.judge_runs import ACCURACY_MARGIN, ENOUGH_SEEDS
from cnnprec.verdicts.verdict import DEFAULT_TOLERANCE

REFERENCE = "single"  # the precision that the others are measured by

_FASTER = 1 / (1 + DEFAULT_TOLERANCE)
_NO_TIME = Estimate(math.inf, 0.0, math.inf, 1.0, math.inf, count=0)
_NO_ACCURACY = Change(0.0, -1.0, 1.0, count=0)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One precision beside `REFERENCE`."""

    name: str
    record: Record
    time: Estimate  # over the reference's, by turns or else runs; of fewer than two a count of 0
    accuracy: Change  # its test accuracy less the reference's, seed by seed; likewise
    objection: str = ""  # why it is not the answer; empty if it is, or if there is no answer


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """Which precision to use on the machine that was measured."""

    precision: str  # the answer; empty if there is not enough evidence for one
    reason: str = ""  # why there is no answer, or why it is provisional; empty if it is shown
    candidates: tuple[Candidate, ...] = ()  # all but the reference, in the order of the tables
    next: str = ""  # the command that should decide what is open; empty if there is none


def recommend(records: Iterable[Record]) -> Recommendation | None:
    """Names the fastest precision that trains as well as `REFERENCE`; None for fewer than two.

    The records are of one session, in any order; each has at least one round.
    """
    by_name = {record.precision.name: record for record in records}
    if len(by_name) < 2:
        return None
    reference = by_name.get(REFERENCE)
    if reference is None or not _trained(reference):
        problem = "was not measured" if reference is None else "itself did not train in every run"
        return Recommendation("", f"{REFERENCE} {problem}")
    names = [name for name in KNOWN if name in by_name and name != REFERENCE]
    candidates = [_candidate(by_name[name], reference) for name in names]
    usable = [c for c in candidates if not c.objection]
    unknown = [c for c in usable if not (c.time.count and c.accuracy.count)]
    hopes = [c for c in usable if c.time.ratio < _FASTER]
    if not (unknown or hopes):
        objections = dict.fromkeys(names, f"not faster than {REFERENCE}")
        return Recommendation(REFERENCE, "", _object(candidates, objections))
    if not unknown and any(hope.time.high < _FASTER for hope in hopes):
        return _choose(hopes, candidates)
    unsure = [c.name for c in unknown or hopes]
    reason = f"{' and '.join(unsure)} took less time, but the noise is larger than that"
    if unknown:
        reason = "fewer than two timed runs do not tell the noise"
    return Recommendation("", reason, tuple(candidates), _more_runs(reference, *unsure))


def _choose(hopes: list[Candidate], candidates: list[Candidate]) -> Recommendation:
    """The fastest, or the safest of those that are not shown to be slower than it."""
    fastest = min(hopes, key=lambda hope: hope.time.ratio).record
    level = [c for c in hopes if _ratio(c.record, fastest).low <= 1 + DEFAULT_TOLERANCE]
    chosen = min(level, key=_risk)
    name, accuracy = chosen.name, chosen.accuracy
    objections = {c.name: f"slower than {name}" for c in candidates}
    safer = f"not shown to be faster than {name}, which is the safer of the two"
    objections |= {c.name: safer for c in level}
    found = _object(candidates, {**objections, name: ""})
    excluded = accuracy.count >= ENOUGH_SEEDS and accuracy.low > -ACCURACY_MARGIN
    if excluded and chosen.time.high < _FASTER:
        return Recommendation(name, "", found)
    return Recommendation(name, "provisional", found, _more_runs(chosen.record, name))


def _more_runs(record: Record, *names: str) -> str:
    runs = max(ENOUGH_SEEDS, 2 * len(record.rounds))
    return f"pytest benchmarks/ --precision {','.join((REFERENCE, *names))} --runs {runs}"


def _candidate(record: Record, reference: Record) -> Candidate:
    theirs = {entry.run.seed: entry.run for entry in reference.rounds}
    changes = [
        entry.run.test_accuracy - theirs[entry.run.seed].test_accuracy
        for entry in record.rounds
        if entry.run.outcome is Outcome.TRAINED and entry.run.seed in theirs
    ]
    accuracy = mean_change(changes) if len(changes) > 1 else _NO_ACCURACY
    objection = f"less accurate than {REFERENCE}" if accuracy.high < -ACCURACY_MARGIN else ""
    if not _trained(record):
        objection = "did not train in every run"
    name = record.precision.name
    return Candidate(name, record, _ratio(record, reference), accuracy, objection)


def _trained(record: Record) -> bool:
    return all(entry.run.outcome is Outcome.TRAINED for entry in record.rounds)


def _ratio(record: Record, other: Record) -> Estimate:
    """The time of one precision over another's of the same session."""
    if record.turns and other.turns:  # one alone may have broken in a turn
        return _in_turn(record.turns.step_seconds, other.turns.step_seconds) or _NO_TIME
    runs = [[entry.seconds for entry in one.rounds] for one in (record, other)]
    return _in_turn(*([seconds for seconds in some if seconds] for some in runs)) or _NO_TIME


def _in_turn(times: Sequence[float], others: Sequence[float]) -> Estimate | None:
    """Times over others measured in turn with them; None for fewer than two."""
    ratios = [math.log(one) - math.log(other) for one, other in zip(times, others, strict=False)]
    return paired(ratios, None, tolerance=DEFAULT_TOLERANCE) if len(ratios) > 1 else None


def _risk(candidate: Candidate) -> tuple[bool, bool, int]:
    """Orders precisions from safe to risky: float32 weights, no loss scale, the table's order."""
    precision = candidate.record.precision
    place = list(KNOWN).index(precision.name)
    return precision.variable_dtype != "float32", precision.loss_scaling, place


def _object(candidates: list[Candidate], objections: dict[str, str]) -> tuple[Candidate, ...]:
    return tuple(
        c if c.objection else dataclasses.replace(c, objection=objections[c.name])
        for c in candidates
    )


def over_reference(points: dict[str, Point], name: str) -> Estimate | None:
    """The time of a precision over that of `REFERENCE`, turn by turn; None where it is unknown."""
    return _in_turn(*(points[n].step_seconds if n in points else () for n in (name, REFERENCE)))


def crossover(study: Study, name: str, width: int) -> int | None:
    """The smallest batch from which on every batch measured is shown to be faster; else None."""
    found = None
    for batch in sorted({p.batch for p in study.points if p.width == width}, reverse=True):
        ratio = over_reference(study.of(width, batch), name)
        if ratio is not None and ratio.high >= 1:
            break
        found = batch if ratio else found
    return found
