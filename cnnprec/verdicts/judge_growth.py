"""Judges what may grow only so much: times and memory."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from cnnprec.machine.gpu_state import GpuState
from cnnprec.records.record import Record
from cnnprec.verdicts.case import ALL_TIMES, ENOUGH, TIME, Case, GrowthLimit, judgement_on
from cnnprec.verdicts.estimate import Estimate, paired, predict
from cnnprec.verdicts.limits import LimitTable
from cnnprec.verdicts.moderation import moderate
from cnnprec.verdicts.regression import State, fit
from cnnprec.verdicts.significance import holm
from cnnprec.verdicts.verdict import Judgement, Limits, Metric, Verdict


@dataclasses.dataclass(frozen=True)
class Tested:
    """A size of a precision, tested: its estimate and whether it is rejected."""

    size: GrowthLimit
    limits: Limits
    estimate: Estimate
    rejected: bool


def tested(
    size: GrowthLimit, cases: Sequence[Case], limits: LimitTable, level: float
) -> dict[str, Tested]:
    """Tests one size of all precisions, which share its part of the error.

    Args:
        size: What to test.
        cases: The precisions that have it.
        limits: How much growth is too much.
        level: Error of the whole comparison.

    Returns:
        By the name of the case; those with too few sessions are left out.
    """
    share = level * size.share
    family = [
        case
        for case in cases
        if (figures := case.figures(size)) is not None
        and len(figures[0]) >= (2 if case.paired else ENOUGH)
    ]
    shown = _estimates(size, family, limits, level)
    # Holm's first step: what is found if this precision alone is slower.
    strict = _estimates(size, family, limits, share / max(len(family), 1))
    estimates = [
        dataclasses.replace(wide, detectable=narrow.detectable)
        for wide, narrow in zip(shown, strict, strict=True)
    ]
    adjusted = holm([estimate.p_value for estimate in estimates])
    found = {}
    for case, estimate, p_value in zip(family, estimates, adjusted, strict=True):
        # The permutation test knows nothing of normal distributions: it has to agree.
        agreed = estimate.check is None or estimate.check <= level
        allowed = limits.of(size.metric, case.name)
        found[case.name] = Tested(size, allowed, estimate, p_value <= share and agreed)
    return found


def _estimates(
    size: GrowthLimit, family: Sequence[Case], limits: LimitTable, level: float
) -> list[Estimate]:
    tolerances = [limits.of(size.metric, case.name).tolerance for case in family]
    both = list(zip(family, tolerances, strict=True))
    if any(case.paired for case in family):
        return [
            _compare_logs(case, _states(case, size), *case.logs(size), 0.0, tolerance, level)
            for case, tolerance in both
        ]
    known = [_states(case, size) for case in family]
    lines = [
        fit(case.logs(size)[0], states and states[0])
        for case, states in zip(family, known, strict=True)
    ]
    variances: Sequence[float] = [line.variance for line in lines]
    freedoms = [float(line.freedom) for line in lines]
    if size.metric is Metric.SPEED and lines:
        variances, freedom = moderate(variances, min(line.freedom for line in lines))
        freedoms = [freedom] * len(lines)
    return [
        predict(
            line,
            case.logs(size)[1][0],
            states and states[1][0],
            variance=variance,
            freedom=freedom,
            tolerance=tolerance,
            level=level,
            new_error=case.error(size),
        )
        for (case, tolerance), line, states, variance, freedom in zip(
            both, lines, known, variances, freedoms, strict=True
        )
    ]


def _states(case: Case, size: GrowthLimit) -> tuple[list[State], list[State]] | None:
    """The machine's states, where the size depends on them: memory does not."""
    return case.states() if size.metric is Metric.SPEED else None


def judge_speed(case: Case, tested: Mapping[GrowthLimit, Tested]) -> Judgement:
    """Judges the times of a precision."""
    problem = _missing_rounds(case)
    if problem:
        return judgement_on(Metric.SPEED, case, Verdict.INVALID, problem)
    throttled = sorted(
        {
            reason
            for record in case.new
            for state in (*(entry.state for entry in record.rounds), _turns_state(record))
            if state
            for reason in state.throttled
        }
    )
    if throttled:
        return judgement_on(
            Metric.SPEED,
            case,
            Verdict.INCONCLUSIVE,
            f"the GPU was slowed down during the measurement ({', '.join(throttled)}); "
            "mend its cooling or power supply and measure again",
        )
    return judge_growth(Metric.SPEED, case, TIME, tested)


def judge_all_speeds(cases: Sequence[Case], limits: LimitTable, level: float) -> Judgement:
    """Judges the mean of the logarithms over all precisions: what slows them all is found once.

    Args:
        cases: The precisions; each session has all of them.
        limits: How much slower is too slow.
        level: Error of the whole comparison.
    """
    logs = [case.logs(TIME) for case in cases]
    sessions = min(len(old) for old, _ in logs)
    together = Case("", cases[0].old, cases[0].new)
    if sessions < (2 if together.paired else ENOUGH) or not all(new for _, new in logs):
        return _untested(Metric.SPEED, together, ALL_TIMES)
    old = [statistics.fmean(row) for row in zip(*(o[:sessions] for o, _ in logs), strict=True)]
    new = [statistics.fmean(row) for row in zip(*(n for _, n in logs), strict=True)]
    error = math.sqrt(math.fsum(case.error(TIME) ** 2 for case in cases)) / len(cases)
    allowed = _mean_limits([limits.of(Metric.SPEED, case.name) for case in cases])
    shown, strict = (
        _compare_logs(together, together.states(), old, new, error, allowed.tolerance, chosen)
        for chosen in (level, level * ALL_TIMES.share)
    )
    agreed = strict.check is None or strict.check <= level
    found = Tested(
        ALL_TIMES,
        allowed,
        dataclasses.replace(shown, detectable=strict.detectable),
        strict.p_value <= level * ALL_TIMES.share and agreed,
    )
    return judge_growth(Metric.SPEED, together, ALL_TIMES, {ALL_TIMES: found})


def _mean_limits(rows: Sequence[Limits]) -> Limits:
    """What the mean of the logarithms may grow by, if each may grow by its own limits."""

    def mean(shares: Iterable[float]) -> float:
        return math.expm1(statistics.fmean(math.log1p(share) for share in shares))

    return Limits(mean(row.tolerance for row in rows), mean(row.margin for row in rows))


def _compare_logs(
    case: Case,
    states: tuple[list[State], list[State]] | None,
    old: Sequence[float],
    new: Sequence[float],
    error: float,
    tolerance: float,
    level: float,
) -> Estimate:
    """Compares logarithms of figures, given the machine's state of the sessions if it is known."""
    if case.paired:
        ratios = [b - a for a, b in zip(old, new, strict=True)]
        moved = states and [tuple(np.subtract(b, a).tolist()) for a, b in zip(*states, strict=True)]
        return paired(ratios, moved, tolerance=tolerance, level=level)
    line = fit(old, states and states[0])
    return predict(
        line,
        new[0],
        states and states[1][0],
        variance=line.variance,
        freedom=line.freedom,
        tolerance=tolerance,
        level=level,
        new_error=error,
    )


def judge_growth(
    metric: Metric, case: Case, size: GrowthLimit, tested: Mapping[GrowthLimit, Tested]
) -> Judgement:
    """Judges one size of a precision by its test."""
    found = tested.get(size)
    if found is None:
        return _untested(metric, case, size)
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
    return Judgement(
        metric, case.name, verdict, f"{reason} ({describe(estimate)})", estimate, size.name
    )


def describe(estimate: Estimate) -> str:
    """The figures of an estimate in words."""
    return (
        f"ratio {estimate.ratio:.3f}, {estimate.low:.3f} to {estimate.high:.3f}; "
        f"+{estimate.detectable:.0%} would be found in 4 of 5 cases"
    )


def _untested(metric: Metric, case: Case, size: GrowthLimit) -> Judgement:
    figures = case.figures(size)
    if figures is None:
        if metric is Metric.MEMORY:
            # Not every system tells its memory; then no session of it ever did.
            verdict, reason = Verdict.INCONCLUSIVE, "the peak memory is not known on this system"
        else:
            verdict, reason = Verdict.INVALID, f"{size.name} was not taken: timing was disabled"
        return judgement_on(metric, case, verdict, reason)
    old, new = figures
    ratio = new[0] / statistics.geometric_mean(old)
    missing = ENOUGH - len(old)
    return judgement_on(
        metric,
        case,
        Verdict.INCONCLUSIVE,
        f"{size.name} ratio {ratio:.3f}; {ENOUGH} sessions needed, {len(old)} found; run "
        f"pytest benchmarks/ --benchmark-save=NAME {missing} more time{'s' if missing > 1 else ''}",
    )


def _turns_state(record: Record) -> GpuState | None:
    return record.turns.state if record.turns else None


def _missing_rounds(case: Case) -> str | None:
    for record in case.new:
        if len(record.rounds) < record.config.runs:
            return (
                f"only {len(record.rounds)} of {record.config.runs} runs were finished; "
                "run the session again"
            )
    return None
