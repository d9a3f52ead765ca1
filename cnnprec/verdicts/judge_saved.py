"""Judging a saved session by other saved sessions, as the session that measured it would."""

import dataclasses
from collections.abc import Sequence

from cnnprec.records.read_sessions import SavedSession
from cnnprec.text import count_of
from cnnprec.verdicts.baseline import Selection, select
from cnnprec.verdicts.case import ENOUGH
from cnnprec.verdicts.compare import compare
from cnnprec.verdicts.limits import LimitTable
from cnnprec.verdicts.verdict import Comparison, Judgement, Limits, Metric, Verdict


@dataclasses.dataclass(frozen=True)
class JudgedSession:
    """A saved session, what it was compared with, and the verdicts."""

    session: SavedSession
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

    One in which a test failed never passes. There is always a comparison: where nothing can be
    compared with, its verdict says so. For ``vary`` and ``limits`` see
    `cnnprec.verdicts.compare_sessions.compare_sessions`.
    """
    selection = select(baseline, session.records, vary)
    old, changed = [other.records for other in selection.sessions], selection.changed
    if old:
        comparison = compare(old, session.records, limits=limits, changed=changed)
    else:
        verdict = Verdict.INCOMPARABLE if selection.refused else Verdict.NO_BASELINE
        reason = (
            f"none of the {count_of(len(baseline), 'saved session')} can be compared with; save "
            f"{ENOUGH} sessions measured as this one was"
        )
        nothing = Judgement(Metric.COMPLETENESS, "", verdict, reason)
        comparison = Comparison((nothing,), (), count_of(0, "saved session"))
    if session.failed:
        comparison = not_whole(comparison)
    return JudgedSession(session, selection, comparison)


def not_whole(comparison: Comparison) -> Comparison:
    """The comparison of a session in which a test failed: it is not complete, so never a PASS."""
    judgements = tuple(
        dataclasses.replace(
            judgement,
            verdict=Verdict.INVALID,
            reason="a test of the session failed, so what it measured is not whole; mend it and "
            "measure again",
        )
        if judgement.metric is Metric.COMPLETENESS and judgement.verdict is Verdict.PASS
        else judgement
        for judgement in comparison.judgements
    )
    return dataclasses.replace(comparison, judgements=judgements)
