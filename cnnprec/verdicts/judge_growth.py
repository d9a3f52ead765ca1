"""Judges what may grow only so much: times and memory."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence

from cnnprec.machine.gpu_state import GpuState
from cnnprec.records.record import Record
from cnnprec.verdicts.case import (
    ALL_STEPS,
    ENOUGH,
    STEP_TIME,
    Case,
    GrowthLimit,
    clocks,
    judgement_on,
)
from cnnprec.verdicts.estimate import Estimate, paired_given, predict_given
from cnnprec.verdicts.limits import LimitTable
from cnnprec.verdicts.moderation import moderate
from cnnprec.verdicts.regression import fit
from cnnprec.verdicts.significance import holm
from cnnprec.verdicts.verdict import Judgement, Limits, Metric, Verdict

# Sessions that agree to the last digit have no variance, and zero has no logarithm.
_TINY = 1e-18


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
    if size.field != STEP_TIME.field:
        return [case.estimate(size, tolerance, level) for case, tolerance in both]
    if any(case.paired for case in family):
        return [_compare_logs(c, *c.log_steps(), 0.0, tolerance, level) for c, tolerance in both]
    lines, states = [], []
    for case in family:
        known = case.states()
        lines.append(fit(case.log_steps()[0], None if known is None else known[0]))
        states.append(None if known is None else known[1][0])
    freedom = min((line.freedom for line in lines), default=1)
    variances, freedom_of_all = moderate([max(line.variance, _TINY) for line in lines], freedom)
    return [
        predict_given(
            line,
            case.log_steps()[1][0],
            state,
            variance=variance,
            freedom=freedom_of_all,
            tolerance=tolerance,
            level=level,
            new_error=case.error(),
        )
        for (case, tolerance), line, state, variance in zip(
            both, lines, states, variances, strict=True
        )
    ]


def judge_speed(case: Case, tested: Mapping[GrowthLimit, Tested]) -> Judgement:
    """Judges the times of a precision."""
    clock, *others = clocks(case.new[0])
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
    judgement = judge_growth(Metric.SPEED, case, clock, tested)
    if throttled:
        return dataclasses.replace(
            judgement,
            verdict=Verdict.INCONCLUSIVE,
            estimate=None,
            quantity="",
            reason=f"the GPU was slowed down during the measurement ({', '.join(throttled)}); "
            "mend its cooling or power supply and measure again",
        )
    for other in others:
        if judgement.verdict is not Verdict.FAIL and other in tested and tested[other].rejected:
            grown = judge_growth(Metric.SPEED, case, other, tested)
            if case.paired:
                return grown  # a busy machine slows both sides of a pair
            return dataclasses.replace(
                grown,
                verdict=Verdict.INCONCLUSIVE,
                reason=f"{other.name} grew and {clock.name} did not: the machine was busy with "
                "other work, or the process waits for something. Measure on an idle machine, or "
                f"by turns with cnnprec ab ({describe(tested[other].estimate)})",
            )
    return judgement


def judge_all_speeds(cases: Sequence[Case], limits: LimitTable, level: float) -> Judgement:
    """Judges the mean of the logarithms over all precisions: what slows them all is found once.

    Args:
        cases: The precisions; each session has all of them.
        limits: How much slower is too slow.
        level: Error of the whole comparison.
    """
    logs = [case.log_steps() for case in cases]
    sessions = min(len(old) for old, _ in logs)
    together = Case("", cases[0].old, cases[0].new)
    if sessions < (2 if together.paired else ENOUGH) or not all(new for _, new in logs):
        return _untested(Metric.SPEED, together, ALL_STEPS)
    old = [statistics.fmean(row) for row in zip(*(o[:sessions] for o, _ in logs), strict=True)]
    new = [statistics.fmean(row) for row in zip(*(n for _, n in logs), strict=True)]
    error = math.sqrt(math.fsum(case.error() ** 2 for case in cases)) / len(cases)
    allowed = limits.of(Metric.SPEED, "")
    shown, strict = (
        _compare_logs(together, old, new, error, allowed.tolerance, chosen)
        for chosen in (level, level * ALL_STEPS.share)
    )
    agreed = strict.check is None or strict.check <= level
    found = Tested(
        ALL_STEPS,
        allowed,
        dataclasses.replace(shown, detectable=strict.detectable),
        strict.p_value <= level * ALL_STEPS.share and agreed,
    )
    return judge_growth(Metric.SPEED, together, ALL_STEPS, {ALL_STEPS: found})


def _compare_logs(
    case: Case,
    old: Sequence[float],
    new: Sequence[float],
    error: float,
    tolerance: float,
    level: float,
) -> Estimate:
    """Compares logarithms of times, with the machine's state of the case's sessions."""
    states = case.states()
    if case.paired:
        ratios = [b - a for a, b in zip(old, new, strict=True)]
        moved = None if states is None else [b - a for a, b in zip(*states, strict=True)]
        return paired_given(ratios, moved, tolerance=tolerance, level=level)
    line = fit(old, None if states is None else states[0])
    return predict_given(
        line,
        new[0],
        None if states is None else states[1][0],
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
