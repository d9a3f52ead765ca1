"""Judges what may grow only so much: times and memory."""

import dataclasses
import functools
import math
import statistics
from collections.abc import Sequence

import numpy as np

from cnnprec.records.record import Record
from cnnprec.text import count_of
from cnnprec.verdicts.case import (
    ALL_TIMES,
    ENOUGH,
    TIME,
    Case,
    GrowthLimit,
    States,
    Together,
    figure,
    gpu_states,
)
from cnnprec.verdicts.estimate import Estimate, paired, predict
from cnnprec.verdicts.limits import LimitTable
from cnnprec.verdicts.regression import SLOPE, Regression, fit, moderate
from cnnprec.verdicts.statistics import holm
from cnnprec.verdicts.step_limits import impossible
from cnnprec.verdicts.verdict import Judgement, Limits, Metric, Verdict, worst

ALONE = 0.2  # error with which a precision has to look slower without the others as well


def judge_growth(
    size: GrowthLimit, cases: Sequence[Case], limits: LimitTable, level: float
) -> dict[str, Judgement]:
    """Judges one size of all cases, by name; those with enough sessions share its error."""
    family = [case for case in cases if len(case.logs(size)[0]) >= (2 if case.paired else ENOUGH)]
    # Holm's first step: what is found if this precision alone is slower.
    strict = level * size.share / max(len(family), 1)
    allowed = [size.widened(limits.of(size.metric, case.name)) for case in family]
    estimates: list[Estimate] = []
    for error, states in tests(size, family, strict):
        found = [
            _compare(size, case, line, state, tolerance=own.tolerance, level=level, strict=error)
            for case, line, state, own in zip(
                family, lines(size, family, states), states, allowed, strict=True
            )
        ]
        estimates = list(map(_both, estimates, found)) if estimates else found
    adjusted = holm([estimate.p_value for estimate in estimates])
    judged = {
        case.name: _judgement(case, size, own, estimate, p_value, level)
        for case, own, estimate, p_value in zip(family, allowed, estimates, adjusted, strict=True)
    }
    return {case.name: judged.get(case.name) or _untested(case, size) for case in cases}


def tests(
    size: GrowthLimit, cases: Sequence[Case], strict: float
) -> list[tuple[float, Sequence[States | None]]]:
    """The tests that have to reject all: the error of each, and the machine's states for each case.

    The time of a precision has two where there are others, of which the last one keeps the error
    `strict`: given how slow the others were. Where all others became faster, an unchanged precision
    is slower beside them, so it has to look slower by itself as well.
    """
    speed = size.metric is Metric.SPEED
    alone = [case.states() if speed else None for case in cases]
    others = beside_others(cases) if size == TIME else None
    return [(strict, alone)] if others is None else [(ALONE, alone), (strict, others)]


def beside_others(cases: Sequence[Case]) -> list[States] | None:
    """The states of the machine for each precision, with how slow the others were in it.

    That is the median of the logarithms of their figures, each less its mean in the old sessions,
    less what the calibrators explain. None for one precision alone, for pairs, in which the machine
    was as slow for both, and where not every session has a time of each.
    """
    logs = [case.logs(TIME) for case in cases]
    counts = {(len(old), len(new)) for old, new in logs}
    due = {(len(case.old), len(case.new)) for case in cases}
    if len(cases) < 2 or cases[0].paired or len(counts | due) > 1:
        return None
    count = len(logs[0][0])
    times = np.transpose([[*old, *new] for old, new in logs])
    growths = times - times[:count].mean(axis=0)
    found: list[States] = []
    for place, case in enumerate(cases):
        rows = np.median(np.delete(growths, place, axis=1), axis=1, keepdims=True)
        if known := case.states():
            states = np.array([*known[0], *known[1]])
            explained = SLOPE * (states - states[:count].mean(axis=0)).sum(axis=1, keepdims=True)
            rows = np.hstack([states, rows - explained])
        found.append((rows[:count].tolist(), rows[count:].tolist()))
    return found


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


def _both(alone: Estimate, beside: Estimate) -> Estimate:
    """Beside the others, with the larger upper bound: only what neither allows is excluded."""
    return dataclasses.replace(
        beside,
        high=max(alone.high, beside.high),
        p_value=beside.p_value if alone.p_value <= ALONE else 1.0,
        detectable=max(alone.detectable, beside.detectable),
    )


def judge_speed(case: Case, time: Judgement, mean: Judgement) -> Judgement:
    """Judges the times of a precision by the judgements on its time and on its mean time."""
    if hindered := _hindered(case.name, case.new):
        return hindered
    judged = [time, mean] if time.estimate and mean.estimate else [time]
    verdict = worst(judgement.verdict for judgement in judged)
    return next(judgement for judgement in judged if judgement.verdict is verdict)


def judge_all_speeds(cases: Sequence[Case], limits: LimitTable, level: float) -> Judgement:
    """Judges the mean of the logarithms over all precisions, which each session has."""
    if hindered := _hindered("", [record for case in cases for record in case.new]):
        return hindered
    # What the mean may grow by, if each may grow by its own limits.
    rows = [limits.of(Metric.SPEED, case.name) for case in cases]
    mean = np.mean(np.log1p([(row.tolerance, row.margin) for row in rows]), axis=0)
    allowed = LimitTable(Limits(*np.expm1(mean).tolist()))
    together = Together("", cases[0].old, cases[0].new, tuple(cases))
    return judge_growth(ALL_TIMES, [together], allowed, level)[""]


def _hindered(name: str, records: Sequence[Record]) -> Judgement | None:
    """The judgement where a time of these records says nothing, whatever it is."""
    say = functools.partial(Judgement, Metric.SPEED, name)
    for record in records:
        done, due = len(record.rounds), record.config.runs
        if done < due:
            problem = f"only {done} of {due} runs were finished; run the session again"
            return say(Verdict.INVALID, problem)
        if problem := impossible(record, figure(record, TIME.field)):
            return say(Verdict.INVALID, problem)
    throttled = {reason for state in gpu_states(records) for reason in state.throttled}
    if not throttled:
        return None
    problem = f"the GPU was slowed down during the measurement ({', '.join(sorted(throttled))}); "
    remedy = "mend its cooling or power supply and measure again"
    return say(Verdict.INCONCLUSIVE, problem + remedy)


def _compare(
    size: GrowthLimit, case: Case, line: Regression, states: States | None, **asked: float
) -> Estimate:
    """Compares the new figures, by pairs or one by the line through the old ones."""
    old, new = case.logs(size)
    if case.paired:
        moved = states and np.subtract(states[1], states[0]).tolist()
        return paired(np.subtract(new, old).tolist(), moved, **asked)
    return predict(line, new[0], states and states[1][0], new_error=case.error(size), **asked)


def _judgement(
    case: Case, size: GrowthLimit, limits: Limits, estimate: Estimate, p_value: float, level: float
) -> Judgement:
    """Judges one size by its estimate and its p value, adjusted for those tested beside it."""
    # The permutation test knows nothing of normal distributions: it has to agree.
    agreed = estimate.check is None or estimate.check <= level
    if p_value <= level * size.share and agreed:
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
    old, new = case.logs(size)
    verdict = Verdict.INCONCLUSIVE
    if old:
        reason = (
            f"{size.name} ratio {math.exp(new[0] - statistics.fmean(old)):.3f}; {ENOUGH} sessions "
            f"needed, {len(old)} found; run pytest benchmarks/ --benchmark-save=NAME "
            f"{count_of(ENOUGH - len(old), 'more time')}"
        )
    elif size.metric is Metric.MEMORY:
        # Not every system tells its memory; then no session of it ever did.
        reason = "the peak memory is not known on this system"
    else:
        verdict, reason = Verdict.INVALID, f"{size.name} was not taken: timing was disabled"
    return Judgement(size.metric, case.name, verdict, reason)
