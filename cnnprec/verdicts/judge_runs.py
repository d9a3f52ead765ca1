"""Judges what the trainings computed: outcome, accuracy and bits."""

import functools
import itertools
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence

from cnnprec.records.record import Outcome, Record
from cnnprec.verdicts.case import Case, all_runs_by_seed, gpu_states, runs
from cnnprec.verdicts.comparability import stack
from cnnprec.verdicts.estimate import mean_change
from cnnprec.verdicts.gpu_health import gpu_faults, gpu_notices
from cnnprec.verdicts.judge_numbers import Check, faults, moved
from cnnprec.verdicts.numeric_limits import distances
from cnnprec.verdicts.verdict import Judgement, Metric, Verdict

ENOUGH_SEEDS = 10  # paired seeds that a claim on accuracy needs where the weights differ
ACCURACY_MARGIN = 0.01  # loss, as a fraction of the test images, to be excluded for a PASS
ACCURACY_SHARE = 0.1  # the accuracies' share of the error that one comparison may make


def judge_outcome(case: Case) -> Judgement:
    """Judges how the runs ended, and whether the hardware reported errors meanwhile."""
    say = functools.partial(Judgement, Metric.OUTCOME, case.name)
    states = gpu_states(case.new)
    if wrong := gpu_faults(states):
        return say(Verdict.FAIL, "; ".join(wrong))
    before, same_stack = all_runs_by_seed(case.old), all_runs_by_seed(_same_stack(case))
    changes = []
    now = runs(case.new)
    for run in now:
        outcomes = {old.outcome for old in before.get(run.seed, [])}
        steps = {old.first_bad_step for old in same_stack.get(run.seed, [])}
        if outcomes and run.outcome not in outcomes:
            changes.append(f"seed {run.seed}: {_either(outcomes)} -> {run.outcome}")
        elif steps and run.first_bad_step not in steps:
            first = ", ".join(sorted(map(str, steps)))
            changes.append(f"seed {run.seed}: first bad step {first} -> {run.first_bad_step}")
    if changes:
        return say(Verdict.FAIL, "; ".join(dict.fromkeys(changes)))
    notices = gpu_notices(states)
    reason = "; ".join([f"{_either({run.outcome for run in now})}, as before", *notices])
    return say(Verdict.PASS, reason, notice=bool(notices))


def judge_accuracy(case: Case, level: float, cases: int) -> Judgement:
    """Judges the accuracy, seed by seed; so many cases share its part of the error."""
    say = functools.partial(Judgement, Metric.ACCURACY, case.name)
    level = level * ACCURACY_SHARE / cases
    before = all_runs_by_seed(case.old)
    pairs = [(before[run.seed], run) for run in runs(case.new[:1]) if run.seed in before]
    if not pairs:
        return say(Verdict.INVALID, "no seed was run before and now")
    for run in runs(case.new):
        same = [r for r in before.get(run.seed, []) if r.weights_sha256 == run.weights_sha256]
        if same and run.test_accuracy not in {r.test_accuracy for r in same}:
            change = f"accuracy {same[0].test_accuracy:.2%} -> {run.test_accuracy:.2%}"
            text = f"seed {run.seed}: bitwise the same weights, but {change}"
            return say(Verdict.FAIL, f"{text}: the evaluation computes something else")
    if all(run.weights_sha256 in {r.weights_sha256 for r in old} for old, run in pairs):
        return say(Verdict.PASS, "the same weights and accuracy as before")
    if lost := _lost_everywhere(case, level / 2):
        return say(Verdict.FAIL, lost)
    changes = [
        run.test_accuracy - statistics.fmean(r.test_accuracy for r in old)
        for old, run in pairs
        if run.outcome is Outcome.TRAINED and any(r.outcome is Outcome.TRAINED for r in old)
    ]
    if not changes:
        return say(Verdict.PASS, "no run trained, before or now; see outcome")
    if len(changes) < 2:
        text = f"other weights than before and one seed only; run --runs {ENOUGH_SEEDS}"
        return say(Verdict.INCONCLUSIVE, text)
    shown = mean_change(changes)
    text = (
        f"accuracy changed by {shown.mean * 100:+.2f} percentage points "
        f"({shown.low * 100:+.2f} to {shown.high * 100:+.2f}; {len(changes)} paired seeds)"
    )
    if mean_change(changes, level / 2).high < -ACCURACY_MARGIN:
        return say(Verdict.FAIL, text)
    if len(changes) < ENOUGH_SEEDS:
        need = f"a claim needs {ENOUGH_SEEDS} seeds: use --runs {ENOUGH_SEEDS} before and now"
        return say(Verdict.INCONCLUSIVE, f"{text}; {need}")
    if shown.low > -ACCURACY_MARGIN:
        return say(Verdict.PASS, text)
    text += f"; a loss of {ACCURACY_MARGIN * 100:g} point is not excluded"
    return say(Verdict.INCONCLUSIVE, text)


def _lost_everywhere(case: Case, level: float) -> str | None:
    """What is lost where every run is worse than the worst before, by Fisher's exact test."""
    # Half a second, and seldom needed.
    from scipy.stats import hypergeom

    seeds = {run.seed for run in runs(case.new)}
    trained = [
        run.test_accuracy
        for run in runs(case.old)
        if run.outcome is Outcome.TRAINED and run.seed in seeds
    ]
    if not trained:
        return None
    images = case.new[0].config.test_samples
    worst, best = min(trained), max(run.test_accuracy for run in runs(case.new))
    now, kept = round(best * images), round(max(worst - ACCURACY_MARGIN, 0) * images)
    p_value = float(hypergeom.cdf(now, 2 * images, now + kept, images))
    if p_value > level:
        return None
    return (
        f"every run has an accuracy of {best:.2%} or less, the worst before had {worst:.2%} "
        f"(p = {p_value:.1g}, {images} test images)"
    )


def judge_numerics(case: Case) -> Judgement:
    """Judges the numbers: what is graded under any stack, the bits where nothing changed.

    Only seeds that repeat in the baseline can show that the bits are still the same.
    """
    say = functools.partial(Judgement, Metric.NUMERICS, case.name)
    graded = [faults(record, {}) for record in case.new if record.numerics is not None]
    checks = [check for check in Check if check is not Check.HARDWARE]
    wrong = [text for found in graded for check in checks for text in found[check]]
    if wrong := list(dict.fromkeys([*wrong, *moved(case)])):
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        return say(Verdict.FAIL, "; ".join(wrong[:3]) + more)
    new, same_stack = case.new[0], _same_stack(case)
    hashes, hashes_now = _hashes(same_stack or case.old), _hashes(case.new)
    known = [run.seed for run in runs([new]) if run.seed in hashes]
    if not known:
        return say(Verdict.INVALID, "no seed was run before and now")
    changed = [s for s in known if not hashes_now[s] <= hashes[s] or len(hashes_now[s]) > 1]
    # Each stack has bits of its own, so only sessions of one stack can fail to repeat.
    judged = same_stack if same_stack and not changed else case.old
    bits = {
        (run.seed, tuple(stack(record).values()), run.weights_sha256)
        for record in judged
        for run in runs([record])
    }
    counts = Counter(found[:2] for found in bits)
    shaky = {seed for (seed, _), count in counts.items() if count > 1}
    names = f"seed {', '.join(map(str, sorted(shaky)))}"
    deterministic = new.environment.op_determinism
    remedy = "save a new baseline with --benchmark-save=NAME"
    if not deterministic:
        remedy = f"set TF_DETERMINISTIC_OPS=1 in the environment and {remedy}"
    promised = deterministic or new.environment.device_kind == "cpu"  # as one H100 showed
    if shaky.issuperset(known):
        text = f"the baseline itself does not repeat bitwise ({names})"
        unknown = "so it cannot show whether the bits changed"
        return say(Verdict.INCONCLUSIVE, f"{text}, {unknown}; {remedy}")
    steady, other = ([s for s in seeds if s not in shaky] for seeds in (known, changed))
    aside = f"; not judged, because the baseline does not repeat it: {names}" if shaky else ""
    if not other:
        if promised and (probes := _other_probes(new, same_stack)):
            return say(Verdict.FAIL, f"other bits of {probes} though nothing in the stack changed")
        reason = f"weights bitwise as before ({len(steady)} seeds)"
        return say(Verdict.PASS, reason + aside, notice=bool(shaky))
    if same_stack or any(len(hashes_now[seed]) > 1 for seed in other):
        seeds = ", ".join(map(str, other))
        text = f"other weights than before (seed {seeds}) though nothing in the stack changed"
        if not promised:
            return say(Verdict.INCONCLUSIVE, f"{text}, which kernels of GPUs may do; {remedy}")
        return say(Verdict.FAIL, f"{text}: results no longer repeat{aside}")
    most = f"the first losses differ by at most {_largest_loss_difference(case, other):.1e}"
    known_as = f"({len(other)} of {len(steady)} seeds; {most})"
    reason = f"other bits than before {known_as}, and so is the stack"
    return say(Verdict.PASS, reason + aside, notice=True)


def _same_stack(case: Case) -> list[Record]:
    """The baseline's records of the stack that is judged."""
    return [record for record in case.old if stack(record) == stack(case.new[0])]


def _other_probes(new: Record, same_stack: Iterable[Record]) -> str:
    """Names of the operations whose bits the same probes repeated before and now do not."""
    if new.numerics is None:
        return ""
    old = [r.numerics for r in same_stack if r.numerics and r.numerics.level == new.numerics.level]
    before = [{group.name: group.sha256 for group in found.probes} for found in old]
    return ", ".join(
        group.name
        for group in new.numerics.probes
        if len(known := {sides.get(group.name) for sides in before}) == 1
        and group.sha256 not in known
    )


def _largest_loss_difference(case: Case, seeds: Sequence[int]) -> float:
    """Largest relative difference of a seed's first losses; infinite if one is not finite."""
    before = all_runs_by_seed(case.old[-1:])
    found = (
        distances(old.first_losses, run.first_losses)
        for run in runs(case.new[:1])
        if run.seed in seeds
        for old in before.get(run.seed, [])
    )
    return max(itertools.chain(*found), default=0.0)


def _hashes(records: Iterable[Record]) -> dict[int, set[str]]:
    return {
        seed: {run.weights_sha256 for run in found}
        for seed, found in all_runs_by_seed(records).items()
    }


def _either(outcomes: Iterable[Outcome]) -> str:
    return "/".join(sorted({str(outcome) for outcome in outcomes}))
