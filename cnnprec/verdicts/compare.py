"""What records say against a baseline or against each other: all verdicts of one comparison.

The unit of evidence is a session, a process of its own. Its rounds share one memory layout and one
minute of the machine, so they are reduced to one figure before anything is compared
(docs/comparing.md). All functions are pure.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from cnnprec.verdicts.case import (
    ENOUGH,
    MEMORY,
    TIME,
    Case,
    GrowthLimit,
    Records,
    on_cpu,
    process_case,
)
from cnnprec.verdicts.comparability import Difference, Part, differences
from cnnprec.verdicts.judge_growth import (
    Tested,
    judge_all_speeds,
    judge_growth,
    judge_speed,
    tested,
)
from cnnprec.verdicts.judge_runs import (
    ACCURACY_SHARE,
    judge_accuracy,
    judge_numerics,
    judge_outcome,
)
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
    """What is judged: metric and precision, whose name is empty for the session as a whole.

    Args:
        names: The precisions.
        device_kind: ``"cpu"``, where the memory is that of the whole process, or ``"gpu"``.
    """
    names = list(names)
    metrics = [m for m in PRECISION_METRICS if m is not Metric.MEMORY or device_kind != "cpu"]
    due = [(metric, name) for name in names for metric in metrics]
    if len(names) > 1:
        due.append((Metric.SPEED, ""))
    if device_kind == "cpu":
        due.append((Metric.MEMORY, ""))
    return [*due, (Metric.COMPLETENESS, "")]


def compare(
    baseline: Sequence[Records],
    current: Records,
    *,
    limits: Limits | LimitTable | None = None,
    changed: Iterable[Difference] = (),
) -> Comparison:
    """Judges a session by sessions saved before.

    Args:
        baseline: Comparable sessions; `cnnprec.verdicts.baseline.select` picks them.
        current: The session to judge.
        limits: How much growth is too much; `Limits` alone are those of all times.
        changed: How the stack differs, for the report.
    """
    histories = {
        name: tuple(session[name] for session in baseline if name in session) for name in current
    }
    known = [name for name in current if histories[name]]
    cases = [Case(name, histories[name], (current[name],)) for name in known]
    whole = [session for session in baseline if session.keys() >= set(known)]
    judgements = _judge(
        cases,
        [Case(name, tuple(s[name] for s in whole), (current[name],)) for name in known],
        process_case([s for s in baseline if s], [current]) if known else None,
        limit_table(limits),
        LEVEL,
    )
    judgements += [
        Judgement(
            metric,
            name,
            Verdict.NO_BASELINE,
            f"{name} is in no comparable baseline session; save {ENOUGH} sessions that measure it "
            "with --benchmark-save",
        )
        for name, record in current.items()
        if name not in known
        for metric, about in due_judgements([name], record.environment.device_kind)
        if about == name
    ]
    due = {name for session in baseline for name in session}
    judgements.append(_completeness(due, set(current)))
    count = len(baseline)
    states = cases[0].states() if cases else None
    return Comparison(
        tuple(judgements),
        tuple(changed),
        f"{count} saved session{'s' if count != 1 else ''}",
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

    Args:
        pairs: ``(A, B)``, in the order in which they ran; at least two.
        tolerance: See `Limits`.
        margin: See `Limits`.
        looks: How often the pairs are looked at, this time included, before no more are
            added. The error of 5 % is split between the looks.

    Raises:
        ValueError: Fewer than two pairs, or sessions that measured different precisions.
    """
    if len(pairs) < 2:
        raise ValueError(f"{len(pairs)} pair of sessions: at least 2 are needed to see any noise")
    names = list(pairs[0][0])
    for a, b in pairs:
        if set(a) != set(names) or set(b) != set(names):
            raise ValueError(
                f"sessions of different precisions cannot be paired: {', '.join(sorted(names))} "
                f"against {', '.join(sorted(set(a) ^ set(b) or set(a)))}"
            )
    cases = [
        Case(name, tuple(a[name] for a, _ in pairs), tuple(b[name] for _, b in pairs))
        for name in names
    ]
    changed = {
        difference: None
        for a, b in pairs
        for name in names
        for difference in differences(a[name], b[name])
        if difference.part is Part.STACK
    }
    return Comparison(
        tuple(
            _judge(
                cases,
                cases,
                process_case([a for a, _ in pairs], [b for _, b in pairs]),
                LimitTable(Limits(tolerance, margin)),
                LEVEL / looks,
            )
        ),
        tuple(changed),
        f"{len(pairs)} pairs of sessions",
        paired=True,
    )


def fewest_pairs(looks: int) -> int:
    """The fewest pairs with which the sign-flip test can reject at all, given the looks."""
    pairs = 2
    while 2.0**-pairs > LEVEL / looks:
        pairs += 1
    return pairs


def _judge(
    cases: Sequence[Case],
    together: Sequence[Case],
    process: Case | None,
    limits: LimitTable,
    level: float,
) -> list[Judgement]:
    """Judges the precisions, and on a CPU the memory of the process that they share."""
    shared = process if process is not None and on_cpu(process.new[0]) else None
    families = {TIME: list(cases), MEMORY: list(cases) if shared is None else [shared]}
    found: dict[str, dict[GrowthLimit, Tested]] = {}
    for size, family in families.items():
        for name, result in tested(size, family, limits, level).items():
            found.setdefault(name, {})[size] = result
    accuracy_level = level * ACCURACY_SHARE / max(len(cases), 1)
    judgements = []
    for case in cases:
        sizes = found.get(case.name, {})
        judgements.append(judge_speed(case, sizes))
        if shared is None:
            judgements.append(judge_growth(Metric.MEMORY, case, MEMORY, sizes))
        judgements += [
            judge_outcome(case),
            judge_accuracy(case, accuracy_level),
            judge_numerics(case),
        ]
    if len(cases) > 1:
        judgements.append(judge_all_speeds(together, limits, level))
    if shared is not None:
        judgements.append(judge_growth(Metric.MEMORY, shared, MEMORY, found.get("", {})))
    return judgements


def _completeness(due: set[str], measured: set[str]) -> Judgement:
    missing, new = sorted(due - measured), sorted(measured - due)
    problems = []
    if missing:
        problems.append(
            f"in the baseline and not measured now: {', '.join(missing)} (removed, renamed, "
            "deselected or failed)"
        )
    if new:
        problems.append(f"measured now and not in the baseline: {', '.join(new)}")
    if problems:
        verdict = Verdict.FAIL if missing else Verdict.NO_BASELINE
        return Judgement(Metric.COMPLETENESS, "", verdict, "; ".join(problems))
    if not due:
        return Judgement(
            Metric.COMPLETENESS, "", Verdict.NO_BASELINE, "nothing was compared at all"
        )
    return Judgement(
        Metric.COMPLETENESS,
        "",
        Verdict.PASS,
        f"{len(due)} precisions, nothing missing, nothing new",
    )
