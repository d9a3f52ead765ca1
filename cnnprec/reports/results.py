"""RESULTS: finished records as text for people. Nothing is decided here."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from cnnprec.precision.precisions import rank
from cnnprec.records.record import Outcome, Record, Round
from cnnprec.text import aligned
from cnnprec.verdicts.judge_runs import ACCURACY_MARGIN, accuracy_against

_REFERENCE = "single"

NONE = "-"


def results(records: Iterable[Record]) -> list[str]:
    """The RESULTS block.

    It holds what was trained on, one row per precision, and one sentence for each precision
    that did not train.

    Args:
        records: In any order; each with at least one round.

    Returns:
        Lines without line ends.
    """
    ranked = sorted(records, key=lambda record: rank(record.precision.name))
    if not ranked:
        return []
    reference = next(
        (step_seconds(r) for r in ranked if r.precision.name == _REFERENCE),
        None,
    )
    own_memory = ranked[0].environment.device_kind != "cpu"
    rows = [
        [*_HEADINGS, *(["peak MB"] if own_memory else [])],
        *([*_row(r, reference), *([_peak([r])] if own_memory else [])] for r in ranked),
    ]
    return [*_conditions(ranked[0]), "", *aligned(rows), *_notes(ranked)]


def step_seconds(record: Record) -> float | None:
    """Wall time of a training step in seconds; None where timing was disabled.

    The geometric mean of the timed turns; where there were none, the mean of the whole runs.
    """
    if record.turns is not None:
        return statistics.geometric_mean(record.turns.step_seconds)
    times = [r.seconds for r in record.rounds if r.seconds is not None]
    return statistics.fmean(times) / record.config.steps if times else None


def explain(record: Record) -> str | None:
    """Where the training broke, and why if that is known; None if it trained in every run."""
    runs = [entry.run for entry in record.rounds]
    parts = []
    diverged = [run for run in runs if run.outcome is Outcome.DIVERGED]
    if diverged:
        steps = sorted({run.first_bad_step for run in diverged if run.first_bad_step is not None})
        where = (
            f"the loss was first not finite at step {_range(steps)} "
            f"(counted from 0, of {record.config.steps})"
            if steps
            else "a weight was not finite at the end"
        )
        parts.append(f"diverged in {len(diverged)} of {len(runs)} runs: {where}")
    frozen = [run for run in runs if run.outcome is Outcome.FROZEN]
    if frozen:
        parts.append(
            f"froze in {len(frozen)} of {len(runs)} runs: no bit of any weight changed in the "
            "last epoch though gradients are not zero; "
            f"the loss stayed at {sum(run.losses[-1] for run in frozen) / len(frozen):.4f}"
        )
    if not parts:
        return None
    why = f" Why: {record.diagnosis}." if record.diagnosis else ""
    return f"{record.precision.name} {'; it '.join(parts)}.{why}"


_HEADINGS = (
    "precision",
    "outcome",
    "s/run",
    "ms/step",
    "samples/s",
    "time/single",
    "warm-up s",
    "accuracy",
    "loss scale",
)


def _row(record: Record, reference_seconds: float | None) -> tuple[str, ...]:
    config = record.config
    seconds = step_seconds(record)
    times = [r.seconds for r in record.rounds if r.seconds is not None]
    scales = [r.run.final_loss_scale for r in record.rounds]
    return (
        record.precision.name,
        _outcomes(record.rounds),
        _spread(times, 2),
        NONE if seconds is None else f"{seconds * 1e3:.2f}",
        NONE if seconds is None else f"{config.batch_size / seconds:.0f}",
        NONE if seconds is None or not reference_seconds else f"{seconds / reference_seconds:.2f}",
        NONE if record.warm_up_seconds is None else f"{record.warm_up_seconds:.1f}",
        _spread([r.run.test_accuracy for r in record.rounds], 4),
        _range([f"{scale:g}" for scale in sorted({s for s in scales if s is not None})]) or NONE,
    )


def _peak(records: Sequence[Record]) -> str:
    """Peak memory in MB over all rounds."""
    peaks = [entry.peak_memory_bytes for record in records for entry in record.rounds]
    known = [peak for peak in peaks if peak is not None]
    return f"{max(known) / 1e6:.0f}" if known else NONE


def _conditions(record: Record) -> list[str]:
    config, machine = record.config, record.environment
    device = (
        f"{machine.cpu_model}, {machine.usable_cores} cores"
        if machine.device_kind == "cpu"
        else f"{machine.device_model}, driver {machine.driver or 'unknown'}"
    )
    data = (
        f"Fashion-MNIST from {record.data.source}"
        if record.data.name == "fashion-mnist"
        else "the SYNTHETIC stand-in (not Fashion-MNIST: accuracies do not compare with it)"
    )
    return [
        f"data:    {data}",
        f"work:    profile {config.profile}: {config.train_samples} images x {config.epochs} "
        f"epochs, batch {config.batch_size}, {config.steps} steps a run, "
        f"tested on {config.test_samples} images",
        f"machine: {device}; TensorFlow {machine.tensorflow}, Keras {machine.keras}, "
        f"XLA {'on' if record.jit_compiled else 'off'}",
    ]


def _notes(records: Sequence[Record]) -> list[str]:
    runs = max(len(record.rounds) for record in records)
    notes = [
        f"Mean ± standard deviation over {runs} run{'s' if runs > 1 else ''}. s/run is training "
        "alone; warm-up is building, tracing and the first steps."
        + _turns_note(records[0])
        + (
            f" Peak memory of the process, with all models in it: {_peak(records)} MB."
            if records[0].environment.device_kind == "cpu"
            else ""
        ),
        *(
            f"{record.precision.name}: only {len(record.rounds)} of {record.config.runs} runs "
            "were finished."
            for record in records
            if len(record.rounds) < record.config.runs
        ),
    ]
    return ["", *notes, *_accuracies(records), *filter(None, map(explain, records))]


def _turns_note(record: Record) -> str:
    turns = record.turns
    if turns is None:
        return ""
    unsteady = "" if turns.steady else ", still becoming faster when they began"
    return f" ms/step is from {len(turns.seconds)} timed turns{unsteady}."


def _accuracies(records: Sequence[Record]) -> list[str]:
    """One sentence for each precision that ran enough seeds beside the reference."""
    reference = next((r for r in records if r.precision.name == _REFERENCE), None)
    if reference is None:
        return []
    found = {
        r.precision.name: accuracy_against(reference, r) for r in records if r is not reference
    }
    return [
        f"{name}: accuracy {e.mean * 100:+.2f} percentage points against {_REFERENCE} "
        f"(90 % interval {e.low * 100:+.2f} to {e.high * 100:+.2f}, {e.count} paired seeds): "
        + ("" if e.equivalent else "not shown to be ")
        + f"equivalent within {ACCURACY_MARGIN * 100:g} point."
        for name, e in found.items()
        if e is not None
    ]


def _outcomes(rounds: Sequence[Round]) -> str:
    names = [entry.run.outcome.value for entry in rounds]
    return "/".join(sorted(set(names), key=names.index))


def _spread(values: Sequence[float], digits: int) -> str:
    if not values:
        return NONE
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def _range(values: Sequence[object]) -> str:
    if len(values) < 2:
        return "".join(map(str, values))
    return f"{values[0]} to {values[-1]}"
