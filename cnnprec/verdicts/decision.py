"""What to do after a comparison: a word for an operator, one reason, the next command."""

import dataclasses
import math

from cnnprec.verdicts.judge_runs import ENOUGH_SEEDS
from cnnprec.verdicts.verdict import Comparison, Metric, Verdict


@dataclasses.dataclass(frozen=True)
class Decision:
    """What a comparison comes to: for CI, for operators, why, and what to type next."""

    verdict: Verdict
    action: str
    reason: str
    next: str


SAVE = "pytest benchmarks/ --benchmark-save=baseline"  # adds a session to a baseline
_DO = {
    Verdict.PASS: ("ROLL OUT", f"{SAVE}   (puts this state into the baseline)"),
    Verdict.FAIL: ("ROLL BACK", "cnnprec ab   (tells slower software from a slower machine)"),
    Verdict.INCONCLUSIVE: ("MEASURE MORE", f"{SAVE}   (a few more times, hours apart)"),
}
_ELSE = ("MEASURE MORE", f"{SAVE}   (five times, measured as now, and nothing failing)")


def decide(comparison: Comparison) -> Decision:
    """Says what to do after a comparison; the largest growth is the reason."""
    verdict = comparison.verdict
    action, what_next = _DO.get(verdict, _ELSE)
    deciding = [j for j in comparison.judgements if j.verdict is verdict]
    reason = f"none of the {len(deciding)} verdicts found a change for the worse"
    if verdict is not Verdict.PASS:
        # What has no size, such as an outcome, weighs more than any growth.
        sizes = [j.estimate.ratio if j.estimate else math.inf for j in deciding]
        worst = deciding[sizes.index(max(sizes))] if deciding else None
        more = f" (and {len(deciding) - 1} more)" if len(deciding) > 1 else ""
        named = f"{worst.precision or 'session'} {worst.metric}: {worst.reason}" if worst else ""
        reason = f"{named or 'nothing was compared'}{more}"
    looks = "more --looks"
    if verdict is Verdict.INCONCLUSIVE and any(j.metric is Metric.ACCURACY for j in deciding):
        looks = f"-- --runs {ENOUGH_SEEDS}"
        what_next = f"{SAVE} --runs {ENOUGH_SEEDS}   (five times: the accuracy needs more seeds)"
    if comparison.paired:
        what_next = f"cnnprec ab with {looks}" if action == "MEASURE MORE" else "nothing more"
    return Decision(verdict, action, reason, what_next)


def attribution(comparison: Comparison) -> str | None:
    """Whether a slowdown is one of some precisions alone or of everything; None without one."""
    speeds = [j for j in comparison.judgements if j.metric is Metric.SPEED and j.estimate]
    growths = {j.precision: j.estimate.ratio - 1 for j in speeds if j.precision and j.estimate}
    failed = [j.precision for j in speeds if j.verdict is Verdict.FAIL]
    if not failed or len(growths) < 2:
        return None
    most, least = max(growths.values()), min(growths.values())
    if 1 + least >= math.sqrt(1 + most):  # at least half of it, in logarithms
        return f"everything became slower, by {least:.0%} to {most:.0%}"
    alone = [name for name in failed if name]
    others = [growth for name, growth in growths.items() if name not in alone]
    if not (alone and others):
        return None
    changes = " to ".join(f"{growth:+.0%}" for growth in sorted({min(others), max(others)}))
    return f"{' and '.join(alone)} alone became slower; the others changed by {changes}"
