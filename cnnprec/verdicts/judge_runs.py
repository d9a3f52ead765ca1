"""Judges what the trainings computed: outcome, accuracy and bits."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

from cnnprec.records.record import Outcome, Record
from cnnprec.verdicts.case import Case, all_runs_by_seed, judgement_on, runs_by_seed
from cnnprec.verdicts.comparability import stack
from cnnprec.verdicts.equivalence import equivalence
from cnnprec.verdicts.verdict import Judgement, Metric, Verdict

ENOUGH_SEEDS = 10
"""Paired seeds that a claim on accuracy needs where the weights are not bitwise the same."""

ACCURACY_MARGIN = 0.01
"""Loss of accuracy, as a fraction of the test images, that has to be excluded for a PASS."""

ACCURACY_SHARE = 0.1
"""The accuracies' share of the error that one comparison may make."""


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
    before = {
        seed: {run.outcome for run in runs} for seed, runs in all_runs_by_seed(case.old).items()
    }
    now = [(seed, run.outcome) for record in case.new for seed, run in runs_by_seed(record).items()]
    changes = {
        f"seed {seed}: {_either(before[seed])} -> {outcome}": None
        for seed, outcome in now
        if seed in before and outcome not in before[seed]
    }
    if changes:
        return judgement_on(Metric.OUTCOME, case, Verdict.FAIL, "; ".join(changes))
    return judgement_on(
        Metric.OUTCOME, case, Verdict.PASS, f"{_either({o for _, o in now})}, as before"
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
    if all(run.weights_sha256 in {r.weights_sha256 for r in old} for old, run in pairs):
        return judgement_on(
            Metric.ACCURACY, case, Verdict.PASS, "bitwise the same weights as before, so the same"
        )
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
    if equivalence(changes, ACCURACY_MARGIN, level=level).high < -ACCURACY_MARGIN:
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


def judge_numerics(case: Case) -> Judgement:
    """Judges the bits: a changed stack may change them, nothing else may.

    Only a baseline that repeats its bits can show that they are still the same.
    """
    new = case.new[0]
    stacks: dict[object, list[Record]] = {}
    for record in case.old:
        stacks.setdefault(tuple(stack(record).values()), []).append(record)
    same_stack = stacks.get(tuple(stack(new).values()))
    hashes = _hashes(same_stack or case.old)
    now = runs_by_seed(new)
    known = [seed for seed in now if seed in hashes]
    if not known:
        return judgement_on(
            Metric.NUMERICS, case, Verdict.INVALID, "no seed was run before and now"
        )
    other = [seed for seed in known if now[seed].weights_sha256 not in hashes[seed]]
    hashes_now = _hashes(case.new)
    unsteady = [seed for seed in known if len(hashes_now[seed]) > 1]
    as_before = not other and not unsteady
    # Each stack has bits of its own, so only sessions of one stack can fail to repeat.
    groups = [same_stack] if as_before and same_stack else list(stacks.values())
    unsteady_before = sorted(
        {seed for group in groups for seed, found in _hashes(group).items() if len(found) > 1}
    )
    if unsteady_before:
        return judgement_on(
            Metric.NUMERICS,
            case,
            Verdict.INCONCLUSIVE,
            "the baseline itself does not repeat bitwise "
            f"(seed {', '.join(map(str, unsteady_before))}), so it cannot show whether the bits "
            f"changed; {_steady_baseline(new)}",
        )
    if as_before:
        return judgement_on(
            Metric.NUMERICS, case, Verdict.PASS, f"weights bitwise as before ({len(known)} seeds)"
        )
    if unsteady or same_stack:
        return judgement_on(
            Metric.NUMERICS,
            case,
            Verdict.FAIL,
            f"other weights than before (seed {', '.join(map(str, other or unsteady))}) though "
            "nothing in the stack changed: results no longer repeat",
        )
    return Judgement(
        Metric.NUMERICS,
        case.name,
        Verdict.PASS,
        f"other bits than before ({len(other)} of {len(known)} seeds; the first losses "
        f"differ by at most {_largest_loss_difference(case, other):.1e}), and so is the stack",
        notice=True,
    )


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
