"""What records say against a baseline or against each other: all verdicts of one comparison."""

import math
import statistics
from collections.abc import Iterable, Sequence

from cnnprec.precision.precisions import rank
from cnnprec.text import count_of
from cnnprec.verdicts.case import ENOUGH, MEAN_TIME, MEMORY, TIME, Case, Records, process_case
from cnnprec.verdicts.comparability import Difference, Part, differences
from cnnprec.verdicts.judge_growth import judge_all_speeds, judge_growth, judge_speed
from cnnprec.verdicts.judge_runs import judge_accuracy, judge_numerics, judge_outcome
from cnnprec.verdicts.limits import LimitTable, limit_table
from cnnprec.verdicts.statistics import LEVEL
from cnnprec.verdicts.verdict import (
    DEFAULT_MARGIN,
    DEFAULT_TOLERANCE,
    PRECISION_METRICS,
    Comparison,
    Judgement,
    Limits,
    Metric,
    Verdict,
)


def due_judgements(names: Iterable[str], device_kind: str) -> list[tuple[Metric, str]]:
    """What is judged: metric and precision, whose name is empty for the session as a whole."""
    names = list(names)
    metrics = [m for m in PRECISION_METRICS if m is not Metric.MEMORY or device_kind != "cpu"]
    due = [(metric, name) for name in names for metric in metrics]
    if len(names) > 1:
        due.append((Metric.SPEED, ""))
    if device_kind == "cpu":  # there the memory is that of the whole process
        due.append((Metric.MEMORY, ""))
    return [*due, (Metric.COMPLETENESS, "")]


def compare(
    baseline: Sequence[Records],
    current: Records,
    *,
    limits: Limits | LimitTable | None = None,
    changed: Iterable[Difference] = (),
    failed: bool = False,
) -> Comparison:
    """Judges a session by those that `select` picked; one in which a test failed is not whole.

    `Limits` alone are those of all times.
    """
    due = {name for session in baseline for name in session}
    known = [name for name in current if name in due]
    whole = [session for session in baseline if session.keys() >= set(known)]
    cases, together = (
        [Case(n, tuple(s[n] for s in sessions if n in s), (current[n],)) for n in known]
        for sessions in (baseline, whole)
    )
    process = process_case([s for s in baseline if s], [current]) if known else None
    judgements = _judge(cases, together, process, limit_table(limits), LEVEL)
    remedy = f"save {ENOUGH} sessions that measure it with --benchmark-save"
    judgements += [
        Judgement(
            metric,
            name,
            Verdict.NO_BASELINE,
            f"{name} is in no comparable baseline session; {remedy}",
        )
        for name in current
        if name not in due
        for metric, about in due_judgements([name], current[name].environment.device_kind)
        if about
    ]
    judgements.append(_completeness(due, set(current), failed=failed))
    states = cases[0].states() if cases else None
    return Comparison(
        tuple(judgements),
        tuple(changed),
        count_of(len(baseline), "saved session"),
        why_no_machine=cases[0].why_no_states() if cases else "",
        machine=states and math.expm1(states[1][0][0] - statistics.fmean(s[0] for s in states[0])),
    )


def compare_pairs(
    pairs: Sequence[tuple[Records, Records]],
    *,
    tolerance: float = DEFAULT_TOLERANCE,
    margin: float = DEFAULT_MARGIN,
    looks: int = 1,
) -> Comparison:
    """Judges B by A from pairs of sessions that ran next to each other.

    At least two ``(A, B)``, in the order in which they ran, of the same precisions, else there is a
    ValueError. `looks` is how often they are looked at; all looks share the error of 5 %.
    """
    names = sorted(pairs[0][0], key=rank)
    for a, b in pairs:
        if set(a) != set(names) or set(b) != set(names):
            raise ValueError(
                f"sessions of different precisions cannot be paired: {', '.join(sorted(names))} "
                f"against {', '.join(sorted(set(a) ^ set(b) or set(a)))}"
            )
    olds, news = zip(*pairs, strict=True)
    cases = [Case(n, tuple(a[n] for a in olds), tuple(b[n] for b in news)) for n in names]
    changed = dict.fromkeys(
        difference
        for a, b in pairs
        for name in names
        for difference in differences(a[name], b[name])
        if difference.part is Part.STACK
    )
    limits = LimitTable(Limits(tolerance, margin))
    judgements = _judge(cases, cases, process_case(olds, news), limits, LEVEL / looks)
    basis = f"{len(pairs)} pairs of sessions"
    return Comparison(tuple(judgements), tuple(changed), basis, paired=True)


def fewest_pairs(looks: int) -> int:
    """The fewest pairs with which the sign-flip test can reject at all, given the looks."""
    return max(2, math.ceil(math.log2(looks / LEVEL)))


def _judge(
    cases: Sequence[Case],
    together: Sequence[Case],
    process: Case | None,
    limits: LimitTable,
    level: float,
) -> list[Judgement]:
    """Judges the precisions, and on a CPU the memory of the process that they share."""
    on_cpu = process and process.new[0].environment.device_kind == "cpu"
    shared = [process] if process and on_cpu else []
    times, means = (judge_growth(size, cases, limits, level) for size in (TIME, MEAN_TIME))
    memory = judge_growth(MEMORY, shared or cases, limits, level)
    judgements = []
    for case in cases:
        judgements.append(judge_speed(case, times[case.name], means[case.name]))
        if not shared:
            judgements.append(memory[case.name])
        accuracy = judge_accuracy(case, level, len(cases))
        judgements += [judge_outcome(case), accuracy, judge_numerics(case)]
    if len(cases) > 1:
        judgements.append(judge_all_speeds(together, limits, level))
    return [*judgements, memory[""]] if shared else judgements


def _completeness(due: set[str], measured: set[str], *, failed: bool) -> Judgement:
    problems = []
    if missing := sorted(due - measured):
        gone = "(removed, renamed, deselected or failed)"
        problems.append(f"in the baseline and not measured now: {', '.join(missing)} {gone}")
    if new := sorted(measured - due):
        problems.append(f"measured now and not in the baseline: {', '.join(new)}")
    verdict, usual = Verdict.PASS, f"{len(due)} precisions, nothing missing, nothing new"
    if missing:
        verdict = Verdict.FAIL
    elif new or not due:
        verdict, usual = Verdict.NO_BASELINE, "nothing was compared at all"
    elif failed:
        verdict = Verdict.INVALID
        usual = "a test of the session failed, so what it measured is not whole; mend it and "
        usual += "measure again"
    return Judgement(Metric.COMPLETENESS, "", verdict, "; ".join(problems) or usual)
