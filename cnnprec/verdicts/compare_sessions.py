"""Comparing from Python: saved sessions chosen and judged in one call."""

from collections.abc import Iterable

from cnnprec.records.read_sessions import SavedSession
from cnnprec.verdicts.baseline import select
from cnnprec.verdicts.case import Records
from cnnprec.verdicts.judge_saved import compare_selected
from cnnprec.verdicts.limits import LimitTable
from cnnprec.verdicts.verdict import Comparison, Limits


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
