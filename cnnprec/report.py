"""Finished records as text for people. Nothing is decided here."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from cnnprec.compare import (
    ACCURACY_MARGIN,
    METRICS,
    Comparison,
    Judgement,
    Verdict,
    accuracy_against,
)
from cnnprec.precision import PRECISIONS
from cnnprec.record import Outcome, Record, Round

_REFERENCE = "single"
_NONE = "-"


def results(records: Iterable[Record]) -> list[str]:
    """The RESULTS block.

    It holds what was trained on, one row per precision, and one sentence for each precision
    that did not train.

    Args:
        records: In any order; each with at least one round.

    Returns:
        Lines without line ends.
    """
    order = list(PRECISIONS)
    ranked = sorted(records, key=lambda record: order.index(record.precision.name))
    if not ranked:
        return []
    reference = next(
        (mean_seconds(r) for r in ranked if r.precision.name == _REFERENCE),
        None,
    )
    rows = [_HEADINGS, *(_row(record, reference) for record in ranked)]
    return [*_conditions(ranked[0]), "", *_aligned(rows), *_notes(ranked)]


def mean_seconds(record: Record) -> float | None:
    """Mean wall time of the record's rounds, in seconds; None where timing was disabled."""
    times = [r.seconds for r in record.rounds if r.seconds is not None]
    return statistics.fmean(times) if times else None


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
            f"the loss stayed at {statistics.fmean(run.losses[-1] for run in frozen):.4f}"
        )
    if not parts:
        return None
    why = f" Why: {record.diagnosis}." if record.diagnosis else ""
    return f"{record.precision.name} {'; it '.join(parts)}.{why}"


def verdicts(comparison: Comparison) -> list[str]:
    """The VERDICTS block: the table, the reasons of all that did not pass, the changed stack.

    Returns:
        Lines without line ends.
    """
    rows = [_VERDICT_HEADINGS, *(_verdict_row(j) for j in _measured(comparison))]
    return [
        f"compared with {comparison.basis}; {_stack(comparison)}",
        *(f"  {difference}" for difference in comparison.changed),
        "",
        *_aligned(rows),
        "",
        *_remarks(comparison),
        f"verdict: {comparison.verdict}",
    ]


def verdicts_markdown(comparison: Comparison) -> list[str]:
    """The same as `verdicts` in Markdown, for the summary of a CI job or a pull request."""
    rows = [_VERDICT_HEADINGS, *(_verdict_row(j) for j in _measured(comparison))]
    table = [f"| {' | '.join(row)} |" for row in rows]
    table.insert(1, "|---" * len(_VERDICT_HEADINGS) + "|")
    return [
        f"**{comparison.verdict}**, compared with {comparison.basis}; {_stack(comparison)}",
        "",
        *(f"* {difference}" for difference in comparison.changed),
        *([""] if comparison.changed else []),
        *table,
        "",
        *(f"* {remark}" for remark in _remarks(comparison)),
    ]


_VERDICT_HEADINGS = (
    "precision",
    "what",
    "ratio",
    "95 % bounds",
    "detectable",
    "sessions",
    "verdict",
)


def _measured(comparison: Comparison) -> list[Judgement]:
    """The judgements that the table shows: sizes always, the others where they did not pass."""
    return [
        judgement
        for judgement in _ranked(comparison)
        if judgement.metric in METRICS[:2] or judgement.verdict is not Verdict.PASS
    ]


def _ranked(comparison: Comparison) -> list[Judgement]:
    """The judgements in the order of the precisions; those on the session come last."""
    order = [*PRECISIONS, ""]
    return sorted(comparison.judgements, key=lambda judgement: order.index(judgement.precision))


def _verdict_row(judgement: Judgement) -> tuple[str, ...]:
    estimate = judgement.estimate
    return (
        judgement.precision or "(session)",
        judgement.clock or judgement.metric,
        f"{estimate.ratio:.3f}" if estimate else _NONE,
        f"{estimate.low:.3f} to {estimate.high:.3f}" if estimate else _NONE,
        f"+{estimate.detectable:.0%}" if estimate else _NONE,
        str(estimate.count) if estimate else _NONE,
        judgement.verdict.value,
    )


def _stack(comparison: Comparison) -> str:
    return "what changed in the stack:" if comparison.changed else "nothing changed in the stack"


def _remarks(comparison: Comparison) -> list[str]:
    """One sentence for each judgement that did not pass, or that passed with a notice.

    Where something is slower than saved sessions, one more says what else can be the cause.
    """
    remarks = [
        f"{judgement.verdict} {judgement.precision or 'session'} {judgement.metric}: "
        f"{judgement.reason}"
        for judgement in _ranked(comparison)
        if judgement.verdict is not Verdict.PASS or judgement.reason.startswith("notice")
    ]
    slower = any(
        judgement.metric == "speed"
        and judgement.verdict is Verdict.FAIL
        and judgement.estimate is not None
        and judgement.estimate.check is None  # pairs have one
        for judgement in comparison.judgements
    )
    return [*remarks, _OTHER_CAUSE] if slower else remarks


_OTHER_CAUSE = (
    "A machine that became slower since the sessions were saved looks the same. Measuring by turns "
    "tells the two apart (cnnprec ab), and so do sessions saved over days instead of in one go."
)


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
    "peak MB",
)


def _row(record: Record, reference_seconds: float | None) -> tuple[str, ...]:
    config = record.config
    seconds = mean_seconds(record)
    times = [r.seconds for r in record.rounds if r.seconds is not None]
    scales = [r.run.final_loss_scale for r in record.rounds]
    peaks = [r.peak_memory_bytes for r in record.rounds if r.peak_memory_bytes is not None]
    return (
        record.precision.name,
        _outcomes(record.rounds),
        _spread(times, 2),
        _NONE if seconds is None else f"{seconds / config.steps * 1e3:.2f}",
        _NONE if seconds is None else f"{config.steps * config.batch_size / seconds:.0f}",
        _NONE if seconds is None or not reference_seconds else f"{seconds / reference_seconds:.2f}",
        _NONE if record.warm_up_seconds is None else f"{record.warm_up_seconds:.1f}",
        _spread([r.run.test_accuracy for r in record.rounds], 4),
        _range([f"{scale:g}" for scale in sorted({s for s in scales if s is not None})]) or _NONE,
        f"{max(peaks) / 1e6:.0f}" if peaks else _NONE,
    )


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
        "alone; warm-up is building, tracing and the first steps.",
        *(
            f"{record.precision.name}: only {len(record.rounds)} of {record.config.runs} runs "
            "were finished."
            for record in records
            if len(record.rounds) < record.config.runs
        ),
    ]
    return ["", *notes, *_accuracies(records), *filter(None, map(explain, records))]


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
        return _NONE
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def _range(values: Sequence[object]) -> str:
    if len(values) < 2:
        return "".join(map(str, values))
    return f"{values[0]} to {values[-1]}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows as columns: the first two to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
