"""Judging a session by saved sessions, as the pytest session that measured it would."""

from collections.abc import Iterable, Sequence

from cnnprec.records.read_sessions import SavedSession
from cnnprec.text import count_of
from cnnprec.verdicts.baseline import Selection, select
from cnnprec.verdicts.case import ENOUGH, Records
from cnnprec.verdicts.compare import compare
from cnnprec.verdicts.limits import LimitTable
from cnnprec.verdicts.verdict import Comparison, Judgement, Limits, Metric, Verdict


def compare_sessions(
    baseline: Iterable[SavedSession],
    current: Records,
    *,
    vary: frozenset[str] | None = None,
    limits: Limits | LimitTable | None = None,
) -> Comparison:
    """Judges a session by those of the saved sessions that it can be compared with.

    Args:
        baseline: Saved sessions, such as ``cnnprec.read_sessions(folder)[0]``, in any order.
        current: The session to judge, such as `cnnprec.measure` returns.
        vary: Software that may differ, such as ``frozenset({"driver"})``; None for all of it.
        limits: How much growth is too much; None for the usual limits.

    Returns:
        A judgement on each metric of each precision, and the overall ``verdict``.

    Raises:
        ValueError: No session can be compared with; the message says what differs.
    """
    selection = select(baseline, current, vary)
    if not selection.sessions:
        reasons = [f"{s.path}: {reason}" for s, reason in selection.unfit]
        reasons += [f"{s.path}: {'; '.join(map(str, found))}" for s, found in selection.refused]
        listed = "\n  ".join(reasons) or "there are none"
        raise ValueError(f"none of the saved sessions can be compared with:\n  {listed}")
    return compare_selected(selection, current, limits, failed=False)


def judge_saved(
    baseline: Sequence[SavedSession],
    session: SavedSession,
    *,
    vary: frozenset[str] | None = None,
    limits: Limits | LimitTable | None = None,
) -> tuple[Selection, Comparison]:
    """As `compare_sessions`, with what was chosen; where that is nothing, a verdict says so."""
    selection, records = select(baseline, session.records, vary), session.records
    if selection.sessions:
        return selection, compare_selected(selection, records, limits, failed=session.failed)
    verdict = Verdict.INCOMPARABLE if selection.refused else Verdict.NO_BASELINE
    reason = (
        f"none of the {count_of(len(baseline), 'saved session')} can be compared with; save "
        f"{ENOUGH} sessions measured as this one was"
    )
    nothing = Judgement(Metric.COMPLETENESS, "", verdict, reason)
    return selection, Comparison((nothing,), (), count_of(0, "saved session"))


def compare_selected(
    selection: Selection, current: Records, limits: Limits | LimitTable | None, *, failed: bool
) -> Comparison:
    """Judges a session by those selected; one in which a test failed is not whole."""
    old = [session.records for session in selection.sessions]
    return compare(old, current, limits=limits, changed=selection.changed, failed=failed)
