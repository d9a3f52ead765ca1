"""Judges the numbers themselves, with or without a baseline."""

import math
import statistics
from collections.abc import Mapping

from cnnprec.precision.hyperparameters import check_precision
from cnnprec.records.numerics import Numerics
from cnnprec.records.record import LEARNED_BY, Outcome, Record
from cnnprec.text import Word
from cnnprec.verdicts.case import Case, all_runs_by_seed, gpu_states, runs
from cnnprec.verdicts.gpu_health import gpu_faults
from cnnprec.verdicts.numeric_limits import first_over, limits, mean_limits, reference, seeds


class Check(Word):
    """What is asked of the numbers of one precision."""

    OPERATIONS = "operations"  # does every operation stay within its bound?
    FIRST_STEPS = "first_steps"  # are the first compiled steps those of float64?
    LEARNING = "learning"  # does the training end as this precision's should?
    HARDWARE = "hardware"  # is the GPU sound, where there is one and NVML tells?


# What the last loss may be off by in any case: after 40 steps harmless changes moved that of single
# by 5e-4, and another processor by 6e-3.
_LAST_LOSS = 0.01
LEAST_SHARE = 0.5  # a precision has to lower its loss by this share of what the reference does


def faults(record: Record, beside: Mapping[str, Record]) -> dict[Check, list[str]]:
    """What is wrong with the numbers of a record, beside those of its session, in sentences."""
    known = record.numerics
    return {
        Check.OPERATIONS: [] if known is None else _operations(record, known),
        Check.FIRST_STEPS: [] if known is None else _first_steps(record, known),
        Check.LEARNING: [*_outcomes(record), *_trajectories(record), *_beside(record, beside)],
        Check.HARDWARE: gpu_faults(gpu_states([record])),
    }


def _operations(record: Record, found: Numerics) -> list[str]:
    most = mean_limits(record.precision.compute_dtype, record.environment)
    wrong = [
        f"{group.name}: errors lean to one side by {group.mean:.2g} of the bound, at most "
        f"{most[group.name]:.2g} is harmless"
        for group in found.probes
        if abs(group.mean) > most.get(group.name, math.inf)
    ]
    unsteady = found.unsteady if record.environment.op_determinism else ()
    return [*found.wrong, *wrong, *(f"{name} does not repeat" for name in unsteady)]


def _first_steps(record: Record, found: Numerics) -> list[str]:
    tensors, steps, miscounted = (
        limits(kind, record.precision.name, record.environment)
        for kind in ("tensors", "steps", "miscounted")
    )
    wrong = [
        f"loss of step {step}: {value:.2g} from float64's, at most {most:.2g} is harmless"
        for step, (value, most) in enumerate(zip(found.losses, steps, strict=False))
        if not value <= most and not math.isinf(most)
    ]
    for row in found.tensors:
        if row.tensor not in tensors:
            wrong.append(f"{row.tensor}: not one of the tensors whose limits are known")
            continue
        wrong += [
            f"{row.tensor}: {kind} {abs(value):.2g} from float64's, at most {most:.2g} is harmless"
            for kind, value, most in zip(row._fields[1:], row[1:], tensors[row.tensor], strict=True)
            if not abs(value) <= most
        ]
    if abs(found.miscounted) > (most := max(miscounted, 1)):
        wrong.append(
            f"evaluation: {found.miscounted:+d} right answers of 100 against float64 with the same "
            f"weights, at most {most:.0f} is harmless"
        )
    return wrong


def _outcomes(record: Record) -> list[str]:
    # A precision whose settings cannot work is expected to fail, in either way.
    doomed = bool(check_precision(record.precision))
    allowed = {Outcome.DIVERGED, Outcome.FROZEN} if doomed else {Outcome.TRAINED}
    if record.config.steps < LEARNED_BY:
        allowed.add(Outcome.TRAINED)  # too short a work to fail in
    expected = "/".join(sorted(allowed))
    return [
        f"seed {run.seed}: {run.outcome} at {run.test_accuracy:.1%}, expected {expected}"
        for run in runs([record])
        if run.outcome not in allowed
    ]


def _trajectories(record: Record) -> list[str]:
    """Runs that are far from float64's on the same images from the same weights."""
    name = record.precision.name
    wrong = []
    far = limits("float64", name, record.environment)
    final_most, accuracy_most = limits("runs", name, record.environment)
    for run in runs([record]):
        right = reference(record.config, record.data.name, run.seed)
        if right is None:
            continue
        if over := first_over(run.first_losses, right["first_losses"], far):
            wrong.append(f"seed {run.seed}: loss of step {over[0]} is {over[1]:.2g} from float64's")
        apart = abs(run.losses[-1] / right["losses"][-1] - 1)
        if not (math.isinf(final_most) or apart <= max(final_most, _LAST_LOSS)):
            wrong.append(f"seed {run.seed}: last loss is {apart:.2g} from float64's")
        accuracy = right["test_accuracy"]
        # However wide the limit, a loss of a quarter of the images is gross.
        most = min(max(accuracy_most, 0.01), 0.25)
        if accuracy - run.test_accuracy > most and not check_precision(record.precision):
            found = f"accuracy {run.test_accuracy:.1%}, float64 has {accuracy:.1%}"
            wrong.append(f"seed {run.seed}: {found}")
    return wrong


def _beside(record: Record, beside: Mapping[str, Record]) -> list[str]:
    """Whether it learned as much as double, or else single, did in the same session."""
    other = beside.get("double", beside.get("single"))
    if other is None or other is record:
        return []
    mine, theirs = _learned(record), _learned(other)
    if mine is None or theirs is None or theirs <= 0 or mine >= LEAST_SHARE * theirs:
        return []
    return [f"the loss fell by {mine:.2f}, that of {other.precision} by {theirs:.2f}"]


def _learned(record: Record) -> float | None:
    """By how much the loss fell in the mean run; None where a run did not train."""
    every = runs([record])
    if not every or any(r.outcome is not Outcome.TRAINED or not r.first_losses for r in every):
        return None
    return statistics.fmean(run.first_losses[0] - run.losses[-1] for run in every)


def moved(case: Case) -> list[str]:
    """Recorded seeds whose losses are farther from the baseline's than any harmless change."""
    most = limits("losses", case.name, case.new[0].environment)
    before = all_runs_by_seed(case.old)
    wrong = []
    for run in (run for run in runs(case.new) if run.seed in seeds()):
        old = before.get(run.seed, [])
        over = [first_over(run.first_losses, other.first_losses, most) for other in old]
        if over and None not in over:  # the nearest of them decides
            step, apart = min(filter(None, over), key=lambda o: o[1])
            harmless = f"harmless is {most[step]:.2g} at most"
            wrong.append(f"seed {run.seed}: loss of step {step} moved by {apart:.2g}, {harmless}")
    return wrong
