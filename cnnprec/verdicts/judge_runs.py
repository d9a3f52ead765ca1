"""Judges what the trainings computed: outcome, accuracy and bits."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

from cnnprec.records.record import Outcome, Record
from cnnprec.verdicts.case import Case, all_runs_by_seed, judgement_on, runs_by_seed
from cnnprec.verdicts.comparability import stack
from cnnprec.verdicts.equivalence import Equivalence, equivalence
from cnnprec.verdicts.judge_numbers import faults, moved
from cnnprec.verdicts.verdict import Judgement, Metric, Verdict

ENOUGH_SEEDS = 10
"""Paired seeds that a claim on accuracy needs where the weights are not bitwise the same."""

ACCURACY_MARGIN = 0.01
"""Loss of accuracy, as a fraction of the test images, that has to be excluded for a PASS."""

ACCURACY_SHARE = 0.1
"""The accuracies' share of the error that one comparison may make."""


def accuracy_against(reference: Record, record: Record) -> Equivalence | None:
    """How the accuracy differs from another precision's, seed by seed.

    Two one-sided tests: equivalent means that a difference of `ACCURACY_MARGIN` is excluded
    in both directions.

    Returns:
        None if fewer than `ENOUGH_SEEDS` seeds trained in both: too few for a claim.
    """
    theirs = runs_by_seed(reference)
    changes = [
        run.test_accuracy - theirs[seed].test_accuracy
        for seed, run in runs_by_seed(record).items()
        if seed in theirs and run.outcome is theirs[seed].outcome is Outcome.TRAINED
    ]
    return equivalence(changes, ACCURACY_MARGIN) if len(changes) >= ENOUGH_SEEDS else None


def judge_outcome(case: Case) -> Judgement:
    """Judges how the runs ended, and whether the hardware reported errors meanwhile."""
    faulty = [
        entry.state
        for record in case.new
        for entry in record.rounds
        if entry.state and entry.state.faulty
    ]
    if faulty:
        xids = sorted({number for state in faulty for number in state.xid_errors})
        memory = sum(state.new_ecc_errors or 0 for state in faulty)
        return judgement_on(
            Metric.OUTCOME,
            case,
            Verdict.FAIL,
            f"the GPU reported errors during the measurement: {memory} uncorrected memory errors, "
            f"Xid {', '.join(map(str, xids)) or 'none'}; its results cannot be trusted",
        )
    before = all_runs_by_seed(case.old)
    same_stack = all_runs_by_seed(_same_stack(case))
    changes: dict[str, None] = {}
    now = [run for record in case.new for run in runs_by_seed(record).values()]
    for run in now:
        outcomes = {old.outcome for old in before.get(run.seed, [])}
        steps = {old.first_bad_step for old in same_stack.get(run.seed, [])}
        if outcomes and run.outcome not in outcomes:
            changes[f"seed {run.seed}: {_either(outcomes)} -> {run.outcome}"] = None
        elif steps and run.first_bad_step not in steps:
            first = ", ".join(sorted(map(str, steps)))
            changes[f"seed {run.seed}: first bad step {first} -> {run.first_bad_step}"] = None
    if changes:
        return judgement_on(Metric.OUTCOME, case, Verdict.FAIL, "; ".join(changes))
    return judgement_on(
        Metric.OUTCOME, case, Verdict.PASS, f"{_either({run.outcome for run in now})}, as before"
    )


def judge_accuracy(case: Case, level: float) -> Judgement:
    """Judges the accuracy, seed by seed: one seed gives the same images in the same order."""
    before = all_runs_by_seed(case.old)
    pairs = [
        (before[seed], run) for seed, run in runs_by_seed(case.new[0]).items() if seed in before
    ]
    if not pairs:
        return judgement_on(
            Metric.ACCURACY, case, Verdict.INVALID, "no seed was run before and now"
        )
    if broken := _evaluation_changed(case):
        return judgement_on(Metric.ACCURACY, case, Verdict.FAIL, broken)
    if all(run.weights_sha256 in {r.weights_sha256 for r in old} for old, run in pairs):
        return judgement_on(
            Metric.ACCURACY, case, Verdict.PASS, "the same weights and accuracy as before"
        )
    if lost := _lost_everywhere(case, level / 2):
        return judgement_on(Metric.ACCURACY, case, Verdict.FAIL, lost)
    changes = [
        run.test_accuracy - statistics.fmean(r.test_accuracy for r in old)
        for old, run in pairs
        if run.outcome is Outcome.TRAINED and any(r.outcome is Outcome.TRAINED for r in old)
    ]
    if not changes:
        return judgement_on(
            Metric.ACCURACY, case, Verdict.PASS, "no run trained, before or now; see outcome"
        )
    if len(changes) < 2:
        return judgement_on(
            Metric.ACCURACY,
            case,
            Verdict.INCONCLUSIVE,
            f"other weights than before and one seed only; run --runs {ENOUGH_SEEDS}",
        )
    shown = equivalence(changes, ACCURACY_MARGIN)
    text = (
        f"accuracy changed by {shown.mean * 100:+.2f} percentage points "
        f"({shown.low * 100:+.2f} to {shown.high * 100:+.2f}; {len(changes)} paired seeds)"
    )
    if equivalence(changes, ACCURACY_MARGIN, level=level / 2).high < -ACCURACY_MARGIN:
        return judgement_on(Metric.ACCURACY, case, Verdict.FAIL, text)
    if len(changes) < ENOUGH_SEEDS:
        return judgement_on(
            Metric.ACCURACY,
            case,
            Verdict.INCONCLUSIVE,
            f"{text}; a claim needs {ENOUGH_SEEDS} seeds: use --runs {ENOUGH_SEEDS} before and now",
        )
    if shown.low > -ACCURACY_MARGIN:
        return judgement_on(Metric.ACCURACY, case, Verdict.PASS, text)
    return judgement_on(
        Metric.ACCURACY,
        case,
        Verdict.INCONCLUSIVE,
        f"{text}; a loss of {ACCURACY_MARGIN * 100:g} point cannot be excluded",
    )


def _evaluation_changed(case: Case) -> str | None:
    """What is wrong where the same weights have another accuracy; None if nothing is."""
    before = all_runs_by_seed(case.old)
    for record in case.new:
        for seed, run in runs_by_seed(record).items():
            known = {
                old.test_accuracy
                for old in before.get(seed, [])
                if old.weights_sha256 == run.weights_sha256
            }
            if known and run.test_accuracy not in known:
                return (
                    f"seed {seed}: bitwise the same weights, but accuracy {min(known):.2%} -> "
                    f"{run.test_accuracy:.2%}: the evaluation computes something else"
                )
    return None


def _lost_everywhere(case: Case, level: float) -> str | None:
    """What is lost where every run is worse than the worst one before; None otherwise.

    Fisher's exact test of each run against the worst of the baseline's, with the margin. All
    have to reject, so the error is at most that of one test (docs/comparing.md).
    """
    runs = [entry.run for record in case.new for entry in record.rounds]
    seeds = {run.seed for run in runs}
    before = [
        run
        for seed, old in all_runs_by_seed(case.old).items()
        for run in old
        if seed in seeds and run.outcome is Outcome.TRAINED
    ]
    if not before:
        return None
    images = case.new[0].config.test_samples
    worst = min(run.test_accuracy for run in before)
    kept = round(max(worst - ACCURACY_MARGIN, 0) * images)
    best = max(run.test_accuracy for run in runs)
    p_value = fewer_right(round(best * images), kept, images)
    if p_value > level:
        return None
    return (
        f"every run has an accuracy of {best:.2%} or less, the worst before had {worst:.2%}: "
        f"p = {p_value:.1g} ({images} test images)"
    )


def fewer_right(now: int, before: int, images: int) -> float:
    """Chance of so few right answers now, given the sum, if both runs are equally good.

    The lower tail of the hypergeometric distribution: Fisher's exact test, one-sided.
    """
    total = now + before
    chances = [
        _log_choose(images, k) + _log_choose(images, total - k) - _log_choose(2 * images, total)
        for k in range(max(0, total - images), now + 1)
    ]
    return min(1.0, math.fsum(map(math.exp, chances)))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def judge_numerics(case: Case) -> Judgement:
    """Judges the numbers: what is graded under any stack, the bits where nothing changed.

    Only a baseline that repeats its bits can show that they are still the same; a seed that does
    not repeat is left out alone.
    """
    wrong = [
        text
        for record in case.new
        for texts in faults(record, {}).values()
        for text in texts
        if record.numerics is not None
    ]
    if wrong := [*dict.fromkeys([*wrong, *moved(case)])]:
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        return judgement_on(Metric.NUMERICS, case, Verdict.FAIL, "; ".join(wrong[:3]) + more)
    new = case.new[0]
    same_stack = _same_stack(case)
    hashes = _hashes(same_stack or case.old)
    now = runs_by_seed(new)
    known = [seed for seed in now if seed in hashes]
    if not known:
        return judgement_on(
            Metric.NUMERICS, case, Verdict.INVALID, "no seed was run before and now"
        )
    hashes_now = _hashes(case.new)
    changed = [s for s in known if now[s].weights_sha256 not in hashes[s] or len(hashes_now[s]) > 1]
    # Each stack has bits of its own, so only sessions of one stack can fail to repeat.
    groups = [same_stack] if same_stack and not changed else _by_stack(case).values()
    shaky = {seed for group in groups for seed, found in _hashes(group).items() if len(found) > 1}
    names = f"seed {', '.join(map(str, sorted(shaky)))}"
    if shaky.issuperset(known):
        return judgement_on(
            Metric.NUMERICS,
            case,
            Verdict.INCONCLUSIVE,
            f"the baseline itself does not repeat bitwise ({names}), so it cannot show whether "
            f"the bits changed; {_steady_baseline(new)}",
        )
    steady = [seed for seed in known if seed not in shaky]
    other = [seed for seed in changed if seed not in shaky]
    aside = f"; not judged, because the baseline does not repeat it: {names}" if shaky else ""
    if not other:
        reason = f"weights bitwise as before ({len(steady)} seeds){aside}"
        return Judgement(Metric.NUMERICS, case.name, Verdict.PASS, reason, notice=bool(shaky))
    if same_stack or any(len(hashes_now[seed]) > 1 for seed in other):
        return judgement_on(
            Metric.NUMERICS,
            case,
            Verdict.FAIL,
            f"other weights than before (seed {', '.join(map(str, other))}) though "
            f"nothing in the stack changed: results no longer repeat{aside}",
        )
    return Judgement(
        Metric.NUMERICS,
        case.name,
        Verdict.PASS,
        f"other bits than before ({len(other)} of {len(steady)} seeds; the first losses "
        f"differ by at most {_largest_loss_difference(case, other):.1e}), and so is the stack"
        + aside,
        notice=True,
    )


def _by_stack(case: Case) -> dict[object, list[Record]]:
    stacks: dict[object, list[Record]] = {}
    for record in case.old:
        stacks.setdefault(tuple(stack(record).values()), []).append(record)
    return stacks


def _same_stack(case: Case) -> list[Record]:
    """The baseline's records of the stack that is judged."""
    return _by_stack(case).get(tuple(stack(case.new[0]).values()), [])


def _steady_baseline(record: Record) -> str:
    """What to do where a baseline does not repeat."""
    save = "save a new baseline with --benchmark-save=NAME"
    if record.environment.op_determinism:
        return save
    return f"set TF_DETERMINISTIC_OPS=1 in the environment and {save}"


def _largest_loss_difference(case: Case, seeds: Iterable[int]) -> float:
    """Largest relative difference of a seed's first losses; infinite if one is not finite."""
    before = runs_by_seed(case.old[-1])
    now = runs_by_seed(case.new[0])
    largest = 0.0
    for seed in seeds:
        if seed not in before:
            continue
        for a, b in zip(before[seed].first_losses, now[seed].first_losses, strict=False):
            if repr(a) == repr(b):  # also two NaN
                continue
            change = abs(b - a) / abs(a) if a else math.inf
            largest = max(largest, change if math.isfinite(change) else math.inf)
    return largest


def _hashes(records: Iterable[Record]) -> dict[int, set[str]]:
    return {
        seed: {run.weights_sha256 for run in runs}
        for seed, runs in all_runs_by_seed(records).items()
    }


def _either(outcomes: Iterable[Outcome]) -> str:
    return "/".join(sorted({str(outcome) for outcome in outcomes}))
