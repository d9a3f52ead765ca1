"""What to do after a comparison: a word for an operator, one reason, the next command."""

from __future__ import annotations

import dataclasses
import math

from cnnprec.verdicts.verdict import Comparison, Judgement, Verdict


@dataclasses.dataclass(frozen=True)
class Decision:
    """What a comparison comes to: for CI, for operators, why, and what to type next."""

    verdict: Verdict
    action: str
    reason: str
    next: str


_ACTIONS = {Verdict.PASS: "ROLL OUT", Verdict.FAIL: "ROLL BACK"}
_SAVE = "pytest benchmarks/ --benchmark-save=baseline"
_NEXT = {
    Verdict.PASS: f"{_SAVE}   (puts this state into the baseline)",
    Verdict.FAIL: "cnnprec ab   (tells slower software from a slower machine)",
    Verdict.INVALID: "pytest benchmarks/ --benchmark-compare   (when what failed is mended)",
    Verdict.INCONCLUSIVE: f"{_SAVE}   (some times more, over hours; or cnnprec ab)",
}


def decide(comparison: Comparison) -> Decision:
    """Says what to do after a comparison; the largest growth is the reason."""
    verdict = comparison.verdict
    deciding = [j for j in comparison.judgements if j.verdict is verdict]
    reason = "nothing was compared"
    if deciding:
        worst = max(deciding, key=_weight)
        more = f" (and {len(deciding) - 1} more)" if len(deciding) > 1 else ""
        reason = f"{worst.precision or 'session'} {worst.metric}: {worst.reason}{more}"
    if verdict is Verdict.PASS:
        reason = f"none of the {len(deciding)} verdicts found a change for the worse"
    action = _ACTIONS.get(verdict, "MEASURE MORE")
    what_next = _NEXT.get(verdict, f"{_SAVE}   (five times, measured as now)")
    if comparison.paired:
        decided = verdict in _ACTIONS
        what_next = "nothing, it is decided" if decided else "cnnprec ab with more --looks"
    return Decision(verdict, action, reason, what_next)


def _weight(judgement: Judgement) -> float:
    """What has no size, such as an outcome, weighs more than any growth."""
    return math.inf if judgement.estimate is None else judgement.estimate.ratio
