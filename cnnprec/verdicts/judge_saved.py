"""Judging a saved session by other saved sessions, as the session that measured it would."""

import dataclasses
from collections.abc import Sequence

from cnnprec.records.read_sessions import SavedSession
from cnnprec.text import count_of
from cnnprec.verdicts.baseline import Selection, select
from cnnprec.verdicts.case import ENOUGH, Records
from cnnprec.verdicts.compare import compare
from cnnprec.verdicts.limits import LimitTable
from cnnprec.verdicts.verdict import Comparison, Judgement, Limits, Metric, Verdict

_NOT_WHOLE = (
    "a test of the session failed, so what it measured is not whole; mend it and measure again"
)


@dataclasses.dataclass(frozen=True)
class JudgedSession:
    """What a saved session was compared with, and the verdicts."""

    selection: Selection
    comparison: Comparison


def judge_saved(
    baseline: Sequence[SavedSession],
    session: SavedSession,
    *,
    vary: frozenset[str] | None = None,
    limits: Limits | LimitTable | None = None,
) -> JudgedSession:
    """Judges a saved session by those of the others that it can be compared with.

    Where there is none, the verdict says so. For ``vary`` and ``limits`` see `compare_sessions`.
    """
    selection = select(baseline, session.records, vary)
    if selection.sessions:
        comparison = compare_selected(selection, session.records, limits, failed=session.failed)
        return JudgedSession(selection, comparison)
    verdict = Verdict.INCOMPARABLE if selection.refused else Verdict.NO_BASELINE
    reason = (
        f"none of the {count_of(len(baseline), 'saved session')} can be compared with; save "
        f"{ENOUGH} sessions measured as this one was"
    )
    nothing = Judgement(Metric.COMPLETENESS, "", verdict, reason)
    comparison = Comparison((nothing,), (), count_of(0, "saved session"))
    return JudgedSession(selection, comparison)


def compare_selected(
    selection: Selection, current: Records, limits: Limits | LimitTable | None, *, failed: bool
) -> Comparison:
    """Judges a session by those selected; one in which a test failed is not complete."""
    old = [session.records for session in selection.sessions]
    found = compare(old, current, limits=limits, changed=selection.changed)
    if not failed:
        return found
    judgements = tuple(
        dataclasses.replace(one, verdict=Verdict.INVALID, reason=_NOT_WHOLE)
        if one.metric is Metric.COMPLETENESS and one.verdict is Verdict.PASS
        else one
        for one in found.judgements
    )
    return dataclasses.replace(found, judgements=judgements)
