"""Judges what may grow only so much: times and memory."""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Sequence

import numpy as np

from cnnprec.records.record import Record
from cnnprec.text import count_of
from cnnprec.verdicts.case import (
    ALL_TIMES,
    ENOUGH,
    MEAN_TIME,
    TIME,
    Case,
    GrowthLimit,
    figure,
    gpu_states,
)
from cnnprec.verdicts.estimate import Estimate, paired, predict
from cnnprec.verdicts.limits import LimitTable
from cnnprec.verdicts.moderation import moderate
from cnnprec.verdicts.others import States, beside_others
from cnnprec.verdicts.regression import Regression, fit
from cnnprec.verdicts.significance import holm
from cnnprec.verdicts.step_limits import impossible
from cnnprec.verdicts.verdict import Judgement, Limits, Metric, Verdict, worst

ALONE = 0.2  # error with which a precision has to look slower without the others as well


@dataclasses.dataclass(frozen=True)
class Tested:
    """A size of a precision, tested by its limits: an estimate and whether it is rejected."""

    limits: Limits
    estimate: Estimate
    rejected: bool


def tested(
    size: GrowthLimit, cases: Sequence[Case], limits: LimitTable, level: float
) -> dict[str, Tested]:
    """Tests one size of all precisions with enough sessions, which share its part of the error."""
    family = [
        case
        for case in cases
        if (figures := case.figures(size)) is not None
        and len(figures[0]) >= (2 if case.paired else ENOUGH)
    ]
    # Holm's first step: what is found if this precision alone is slower.
    strict = level * size.share / max(len(family), 1)
    allowed = [size.widened(limits.of(size.metric, case.name)) for case in family]
    estimates: list[Estimate] = []
    for needed, known in tests(size, family, strict):
        knowns: Sequence[Regression | None] = [None] * len(family)
        if not any(case.paired for case in family):
            knowns = lines(size, family, known)
        found = [
            _compare_logs(
                case, states, *case.logs(size), case.error(size), own, level, needed, line
            )
            for case, states, own, line in zip(family, known, allowed, knowns, strict=True)
        ]
        estimates = list(map(_both, estimates, found)) if estimates else found
    adjusted = holm([estimate.p_value for estimate in estimates])
    return {
        case.name: _tested(size, own, estimate, p_value, level)
        for case, own, estimate, p_value in zip(family, allowed, estimates, adjusted, strict=True)
    }


def tests(
    size: GrowthLimit, cases: Sequence[Case], strict: float
) -> list[tuple[float, list[States | None]]]:
    """The tests that have to reject all: the error of each, and the machine's states for each case.

    The time of a precision has two where there are others, of which the last one keeps the error
    `strict`: given how slow the others were. Where all others became faster, an unchanged precision
    is slower beside them, so it has to look slower by itself as well.
    """
    speed = size.metric is Metric.SPEED
    alone: list[States | None] = [case.states() if speed else None for case in cases]
    others = beside_others(cases) if size == TIME else None
    return [(strict, alone)] if others is None else [(ALONE, alone), (strict, [*others])]


def _both(alone: Estimate, beside: Estimate) -> Estimate:
    """Beside the others, with the larger upper bound: only what neither allows is excluded."""
    return dataclasses.replace(
        beside,
        high=max(alone.high, beside.high),
        p_value=beside.p_value if alone.p_value <= ALONE else 1.0,
        detectable=max(alone.detectable, beside.detectable),
    )


def _tested(
    size: GrowthLimit, limits: Limits, estimate: Estimate, p_value: float, level: float
) -> Tested:
    # The permutation test knows nothing of normal distributions: it has to agree.
    agreed = estimate.check is None or estimate.check <= level
    return Tested(limits, estimate, p_value <= level * size.share and agreed)


def lines(
    size: GrowthLimit, cases: Sequence[Case], known: Sequence[States | None]
) -> list[Regression]:
    """The line through the old sessions of each case; variances of times borrow from each other."""
    found = [
        fit(case.logs(size)[0], states and states[0])
        for case, states in zip(cases, known, strict=True)
    ]
    if size.metric is not Metric.SPEED or not found:
        return found
    least = min(line.freedom for line in found)
    variances, freedom = moderate([line.variance for line in found], least)
    return [
        dataclasses.replace(line, variance=variance, freedom=freedom)
        for line, variance in zip(found, variances, strict=True)
    ]


def judge_speed(case: Case, found: Tested | None, mean: Tested | None) -> Judgement:
    """Judges the times of a precision by their tests; None if there were too few sessions."""
    if hindered := _hindered(case, case.new):
        return hindered
    judged = [judge_growth(case, TIME, found)]
    if found is not None and mean is not None:
        judged.append(judge_growth(case, MEAN_TIME, mean))
    verdict = worst(judgement.verdict for judgement in judged)
    return next(judgement for judgement in judged if judgement.verdict is verdict)


def _hindered(case: Case, records: Iterable[Record]) -> Judgement | None:
    """The judgement where a time of these records says nothing, whatever it is."""
    throttled: set[str] = set()
    for record in records:
        done, due = len(record.rounds), record.config.runs
        if done < due:
            problem = f"only {done} of {due} runs were finished; run the session again"
            return Judgement(Metric.SPEED, case.name, Verdict.INVALID, problem)
        if problem := impossible(record, figure(record, TIME.field)):
            return Judgement(Metric.SPEED, case.name, Verdict.INVALID, problem)
        throttled.update(*(state.throttled for state in gpu_states([record])))
    if not throttled:
        return None
    problem = (
        f"the GPU was slowed down during the measurement ({', '.join(sorted(throttled))}); "
        "mend its cooling or power supply and measure again"
    )
    return Judgement(Metric.SPEED, case.name, Verdict.INCONCLUSIVE, problem)


def judge_all_speeds(cases: Sequence[Case], limits: LimitTable, level: float) -> Judgement:
    """Judges the mean of the logarithms over all precisions, which each session has."""
    logs = [case.logs(TIME) for case in cases]
    sessions = min(len(old) for old, _ in logs)
    together = Case("", cases[0].old, cases[0].new)
    if hindered := _hindered(together, [record for case in cases for record in case.new]):
        return hindered
    if sessions < (2 if together.paired else ENOUGH) or not all(new for _, new in logs):
        return _untested(together, ALL_TIMES)
    old = [statistics.fmean(row) for row in zip(*(o[:sessions] for o, _ in logs), strict=True)]
    new = [statistics.fmean(row) for row in zip(*(n for _, n in logs), strict=True)]
    error = math.sqrt(math.fsum(case.error(TIME) ** 2 for case in cases)) / len(cases)
    allowed = _mean_limits([limits.of(Metric.SPEED, case.name) for case in cases])
    levels = level, level * ALL_TIMES.share
    estimate = _compare_logs(together, together.states(), old, new, error, allowed, *levels)
    found = _tested(ALL_TIMES, allowed, estimate, estimate.p_value, level)
    return judge_growth(together, ALL_TIMES, found)


def _mean_limits(rows: Sequence[Limits]) -> Limits:
    """What the mean of the logarithms may grow by, if each may grow by its own limits."""

    def mean(shares: Iterable[float]) -> float:
        return math.expm1(statistics.fmean(math.log1p(share) for share in shares))

    return Limits(mean(row.tolerance for row in rows), mean(row.margin for row in rows))


def _compare_logs(
    case: Case,
    states: States | None,
    old: Sequence[float],
    new: Sequence[float],
    error: float,
    limits: Limits,
    level: float,
    strict: float,
    line: Regression | None = None,
) -> Estimate:
    """Compares logarithms of figures, given the machine's state and the line if they are known."""
    tolerance = limits.tolerance
    if case.paired:
        ratios = [b - a for a, b in zip(old, new, strict=True)]
        moved = states and [tuple(np.subtract(b, a).tolist()) for a, b in zip(*states, strict=True)]
        return paired(ratios, moved, tolerance=tolerance, level=level, strict=strict)
    line, state = line or fit(old, states and states[0]), states and states[1][0]
    levels = {"level": level, "strict": strict}
    return predict(line, new[0], state, tolerance=tolerance, new_error=error, **levels)


def judge_growth(case: Case, size: GrowthLimit, found: Tested | None) -> Judgement:
    """Judges one size of a precision by its test; None if there were too few sessions."""
    if found is None:
        return _untested(case, size)
    estimate, limits = found.estimate, found.limits
    if found.rejected:
        verdict = Verdict.FAIL
        reason = f"{size.name} grew by more than {limits.tolerance * 100:g}%"
    elif estimate.high < 1 + limits.margin:
        verdict = Verdict.PASS
        reason = f"{size.name}: growth of {limits.margin * 100:g}% or more is excluded"
    else:
        verdict = Verdict.INCONCLUSIVE
        reason = f"{size.name}: growth of {limits.margin * 100:g}% cannot be excluded"
    figures = (
        f"ratio {estimate.ratio:.3f}, {estimate.low:.3f} to {estimate.high:.3f}; "
        f"+{estimate.detectable:.0%} would be found in 4 of 5 cases"
    )
    return Judgement(size.metric, case.name, verdict, f"{reason} ({figures})", estimate, size.name)


def _untested(case: Case, size: GrowthLimit) -> Judgement:
    verdict, figures = Verdict.INCONCLUSIVE, case.figures(size)
    if figures is not None:
        old, new = figures
        ratio = new[0] / statistics.geometric_mean(old)
        missing = count_of(ENOUGH - len(old), "more time")
        reason = (
            f"{size.name} ratio {ratio:.3f}; {ENOUGH} sessions needed, {len(old)} found; run "
            f"pytest benchmarks/ --benchmark-save=NAME {missing}"
        )
    elif size.metric is Metric.MEMORY:
        # Not every system tells its memory; then no session of it ever did.
        reason = "the peak memory is not known on this system"
    else:
        verdict, reason = Verdict.INVALID, f"{size.name} was not taken: timing was disabled"
    return Judgement(size.metric, case.name, verdict, reason)
