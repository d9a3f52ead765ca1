"""Judges what may grow only so much: times and memory."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence

from cnnprec.verdicts.case import ENOUGH, Case, GrowthLimit, clocks, judgement_on
from cnnprec.verdicts.estimate import Estimate
from cnnprec.verdicts.limits import LimitTable
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
    estimates = []
    for case in family:
        tolerance = limits.of(size.metric, case.name).tolerance
        shown = case.estimate(size, tolerance, level)
        # Holm's first step: what is found if this precision alone is slower.
        strict = case.estimate(size, tolerance, share / len(family))
        estimates.append(dataclasses.replace(shown, detectable=strict.detectable))
    adjusted = holm([estimate.p_value for estimate in estimates])
    found = {}
    for case, estimate, p_value in zip(family, estimates, adjusted, strict=True):
        # The permutation test knows nothing of normal distributions: it has to agree.
        agreed = estimate.check is None or estimate.check <= level
        allowed = limits.of(size.metric, case.name)
        found[case.name] = Tested(size, allowed, estimate, p_value <= share and agreed)
    return found


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
            for entry in record.rounds
            if entry.state
            for reason in entry.state.throttled
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


def _missing_rounds(case: Case) -> str | None:
    for record in case.new:
        if len(record.rounds) < record.config.runs:
            return (
                f"only {len(record.rounds)} of {record.config.runs} runs were finished; "
                "run the session again"
            )
    return None
