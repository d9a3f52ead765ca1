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
    reason = "nothing was compared"
    if verdict is Verdict.PASS:
        reason = f"none of the {len(deciding)} verdicts found a change for the worse"
    elif deciding:
        # What has no size, such as an outcome, weighs more than any growth.
        first = max(deciding, key=lambda j: j.estimate.ratio if j.estimate else math.inf)
        more = f" (and {len(deciding) - 1} more)" if len(deciding) > 1 else ""
        reason = f"{first.precision or 'session'} {first.metric}: {first.reason}{more}"
    looks = "more --looks"
    if verdict is Verdict.INCONCLUSIVE and any(j.metric is Metric.ACCURACY for j in deciding):
        looks = f"-- --runs {ENOUGH_SEEDS}"
        what_next = f"{SAVE} --runs {ENOUGH_SEEDS}   (five times: the accuracy needs more seeds)"
    if comparison.paired:
        what_next = f"cnnprec ab with {looks}" if action == "MEASURE MORE" else "nothing more"
    return Decision(verdict, action, reason, what_next)


def attribution(comparison: Comparison) -> str | None:
    """Whether a slowdown is one of some precisions alone or of everything; None without one."""
    speeds = [j for j in comparison.judgements if j.metric is Metric.SPEED]
    ratios = {j.precision: j.estimate.ratio for j in speeds if j.estimate}
    logs = {name: math.log(ratio) for name, ratio in ratios.items() if 0 < ratio < math.inf}
    failed = [j.precision for j in speeds if j.verdict is Verdict.FAIL and j.precision in logs]
    alone = [name for name in failed if name]
    others = [log for name, log in logs.items() if name and name not in alone]
    # The time of all is a mean: what those that failed alone add to it is no slowdown of all.
    added = math.fsum(logs[name] for name in alone) / (len(alone) + len(others) or 1)
    if "" in failed and (not others or added < logs[""] / 2):
        return f"everything became slower, by {math.expm1(logs['']):.0%} in the mean"
    if not (alone and others):
        return None
    changes = (f"{math.expm1(log):+.0%}" for log in sorted({min(others), max(others)}))
    return (
        f"{' and '.join(alone)} alone became slower; the others changed by {' to '.join(changes)}"
    )
