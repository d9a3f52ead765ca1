"""Comparing from Python: saved sessions chosen and judged in one call."""

from collections.abc import Iterable

from cnnprec.records.read_sessions import SavedSession
from cnnprec.verdicts.baseline import select
from cnnprec.verdicts.case import Records
from cnnprec.verdicts.compare import compare
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
        reasons = [f"{session.path}: {reason}" for session, reason in selection.unfit]
        reasons += [
            f"{session.path}: {'; '.join(map(str, found))}" for session, found in selection.refused
        ]
        raise ValueError(
            "none of the saved sessions can be compared with:\n  "
            + ("\n  ".join(reasons) or "there are none")
        )
    return compare(
        [session.records for session in selection.sessions],
        current,
        limits=limits,
        changed=selection.changed,
    )
