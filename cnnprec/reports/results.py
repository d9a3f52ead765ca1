"""RESULTS: finished records as text for people. Nothing is decided here."""

import statistics
from collections.abc import Collection, Iterable, Sequence

from cnnprec.precision.precisions import rank
from cnnprec.records.record import Outcome, Record
from cnnprec.reports.limits import LESS_NEEDED, limits_sentences, limits_table, step_seconds
from cnnprec.text import count_of, fitted, wrapped
from cnnprec.verdicts.case import gpu_states
from cnnprec.verdicts.disturbance import disturbance
from cnnprec.verdicts.gpu_health import gpu_notices
from cnnprec.verdicts.judge_runs import ACCURACY_MARGIN
from cnnprec.verdicts.recommend import REFERENCE, Candidate, Recommendation, recommend
from cnnprec.verdicts.statistics import fastest_third
from cnnprec.verdicts.step_limits import share_of_limit

NONE = "-"


def results(records: Iterable[Record], width: int | None = None) -> list[str]:
    """The RESULTS block: what was trained on, why some did not train, a table, what to use.

    Each record has at least one round. The width is the terminal's, None for a file.
    """
    ranked = in_order(records)
    if not ranked:
        return []
    above = [*warning(ranked), *conditions(ranked[0]), "", *notes(ranked), ""]
    answered = answer(recommend(ranked))
    below = [*limits_sentences(ranked), *([""] if answered else []), *answered]
    bounds = limits_table(ranked)
    return [
        *(part for line in above for part in wrapped(line, width)),
        *fitted(table(ranked), width, _LEFT_OUT_FIRST),
        *(["", *fitted(bounds, width, LESS_NEEDED), ""] if bounds else []),
        *(part for line in below for part in wrapped(line, width)),
    ]


def in_order(records: Iterable[Record]) -> list[Record]:
    """The records in the order of the tables."""
    return sorted(records, key=lambda record: rank(record.precision.name))


def table(ranked: Sequence[Record]) -> list[tuple[str, ...]]:
    """The headings, and a row for each precision."""
    reference = next((step_seconds(r) for r in ranked if r.precision.name == REFERENCE), None)
    rows = [_HEADINGS, *(_row(record, reference) for record in ranked)]
    left_out = {"peak MB"} if ranked[0].environment.device_kind == "cpu" else set()
    left_out |= set() if any(record.limits for record in ranked) else {"of limit"}
    left_out |= set() if any(map(run_joules, ranked)) else set(_ENERGY)
    kept = [place for place, heading in enumerate(_HEADINGS) if heading not in left_out]
    return [tuple(row[place] for place in kept) for row in rows]


def run_joules(record: Record) -> float | None:
    """Energy of a run in joules, the mean of those in which it was told; None without any."""
    told = [entry.joules for entry in record.rounds if entry.joules is not None]
    return statistics.fmean(told) if told else None


def explain(record: Record) -> str | None:
    """Where the training broke, and why if that is known; None if it trained in every run."""
    runs = [entry.run for entry in record.rounds]
    parts = []
    if diverged := [run for run in runs if run.outcome is Outcome.DIVERGED]:
        steps = sorted({run.first_bad_step for run in diverged if run.first_bad_step is not None})
        where = "a weight was not finite at the end"
        if steps:
            counted = f"(counted from 0, of {record.config.steps})"
            where = f"the loss was first not finite at step {_range(steps, ' to ')} {counted}"
        parts.append(f"diverged in {len(diverged)} of {len(runs)} runs: {where}")
    if frozen := [run for run in runs if run.outcome is Outcome.FROZEN]:
        loss = sum(run.losses[-1] for run in frozen) / len(frozen)
        parts.append(
            f"froze in {len(frozen)} of {len(runs)} runs: no bit of any weight changed in the "
            f"last epoch though gradients are not zero; the loss stayed at {loss:.4f}"
        )
    if guessing := [run for run in runs if run.outcome is Outcome.NOT_LEARNING]:
        parts.append(
            f"did not learn in {len(guessing)} of {len(runs)} runs: finite and moving, but with an "
            f"accuracy of {max(run.test_accuracy for run in guessing):.1%} no better than guessing"
        )
    if not parts:
        return None
    why = f" Why: {record.diagnosis}." if record.diagnosis else ""
    return f"{record.precision.name} {'; it '.join(parts)}.{why}"


_ENERGY = ("J/epoch", "mJ/image")
_HEADINGS = (
    *("precision", "outcome", "s/run", "ms/step", "images/s", "/single", "of limit"),
    *("warm-up", *_ENERGY, "accuracy %", "loss scale", "peak MB"),
)
_LEFT_OUT_FIRST = ("images/s", "warm-up", *_ENERGY, "s/run", "loss scale", "ms/step")


def _row(record: Record, reference_seconds: float | None) -> tuple[str, ...]:
    config = record.config
    seconds, joules = step_seconds(record), run_joules(record)
    times = [r.seconds for r in record.rounds if r.seconds is not None]
    scales = sorted({s for r in record.rounds if (s := r.run.final_loss_scale) is not None})
    # An image more or less is one digit of the last place shown.
    digits = 1 if config.test_samples <= 1000 else 2
    return (
        record.precision.name,
        "/".join(dict.fromkeys(entry.run.outcome.value for entry in record.rounds)),
        _spread(times, 2 if not times or max(times) < 100 else 0),
        NONE if seconds is None else f"{seconds * 1e3:.2f}",
        NONE if seconds is None else f"{config.batch_size / seconds:.0f}",
        NONE if seconds is None or not reference_seconds else f"{seconds / reference_seconds:.2f}",
        NONE if (share := share_of_limit(record, seconds)) is None else f"{share:.2f}",
        NONE if record.warm_up_seconds is None else f"{record.warm_up_seconds:.1f}",
        NONE if joules is None else f"{joules / config.epochs:.4g}",
        NONE if joules is None else f"{joules / config.steps / config.batch_size * 1e3:.4g}",
        _spread([r.run.test_accuracy * 100 for r in record.rounds], digits),
        _range([f"{scale:g}" for scale in scales], "-") or NONE,
        _peak([record]),
    )


def _peak(records: Sequence[Record]) -> str:
    """Peak memory in MB over all rounds."""
    peaks = [entry.peak_memory_bytes for record in records for entry in record.rounds]
    known = [peak for peak in peaks if peak is not None]
    return f"{max(known) / 1e6:.0f}" if known else NONE


def warning(records: Collection[Record]) -> list[str]:
    """What disturbed the session, if something did, and what its GPU gives notice of."""
    found = disturbance(records)
    lines = [f"DISTURBED: {found}. Measure again when nothing else runs."] if found else []
    return lines + [f"NOTICE: {text}" for text in gpu_notices(gpu_states(records))]


def conditions(record: Record) -> list[str]:
    """On what was trained, how much and where."""
    config, machine = record.config, record.environment
    device = f"{machine.device_model}, driver {machine.driver or 'unknown'}"
    if machine.device_kind == "cpu":
        device = f"{machine.cpu_model}, {machine.usable_cores} cores"
    xla = "on" if record.jit_compiled else "off"
    if config.jit in ("best", "both"):
        xla = f"as --jit {config.jit}"
    data = "the SYNTHETIC stand-in (not Fashion-MNIST: accuracies do not compare with it)"
    if record.data.name == "fashion-mnist":
        data = f"Fashion-MNIST from {record.data.source}"
    shared = f"; {config.strategy}, {machine.replicas} replicas" if machine.replicas > 1 else ""
    return [
        f"data:    {data}",
        f"work:    profile {config.profile}: {config.train_samples} images x {config.epochs} "
        f"epochs, batch {config.batch_size}, {config.steps} steps a run, "
        f"tested on {config.test_samples} images",
        f"machine: {device}; TensorFlow {machine.tensorflow}, Keras {machine.keras}, XLA {xla}"
        f"{shared}",
    ]


def notes(records: Sequence[Record]) -> list[str]:
    """How the table is read, and a sentence for each precision that did not train."""
    runs = max(len(record.rounds) for record in records)
    note = (
        f"Mean ± standard deviation over {count_of(runs, 'run')}. s/run is training alone; "
        "/single is the time over single's; warm-up is building, tracing and the first steps, in s."
    )
    if turns := records[0].turns:
        unsteady = "" if turns.steady else ", still becoming faster when they began"
        note += f" ms/step is from the fastest third of {len(turns.seconds)} timed turns{unsteady}."
    if records[0].environment.device_kind == "cpu":
        note += f" Peak memory of the process, with all models in it: {_peak(records)} MB."
    if records[0].config.jit == "best":
        chosen = ", ".join(r.precision.name for r in records if r.jit_compiled)
        note += f" --jit best took XLA for: {chosen or 'none'}."
    energy = "is that of the whole device" if any(map(run_joules, records)) else "was not told"
    note += f" Energy {energy}."
    short = [
        f"{r.precision.name}: only {len(r.rounds)} of {r.config.runs} runs were finished."
        for r in records
        if len(r.rounds) < r.config.runs and r.rounds[0].seconds is not None
    ]
    told = [tell(record) for tell in (_scaling, explain) for record in records]
    return [note, *short, *_stages(records), *filter(None, told)]


def _stages(records: Iterable[Record]) -> list[str]:
    """Where the time of the session went, as the last record has it."""
    took = max((dict(record.stages) for record in records), key=lambda d: sum(d.values()))
    parts = ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in took.items())
    return [f"Seconds of this session: {sum(took.values()):.0f}: {parts}."] if took else []


def _scaling(record: Record) -> str | None:
    """How the replicas compare with one device that took the same steps, if one did."""
    if not (record.turns and record.turns.one_device_seconds):
        return None
    of = (record.turns.one_device_seconds, record.turns.seconds)
    alone, shared = (statistics.geometric_mean(fastest_third(seconds)) for seconds in of)
    efficiency = alone / shared / record.environment.replicas
    return (
        f"{record.precision.name}: {alone / shared:.2f} times as fast as one device with the same "
        f"batches, a scaling efficiency of {efficiency:.0%}."
    )


def answer(found: Recommendation | None) -> list[str]:
    """Which precision to use, what it saves, what not to use and why, the next command."""
    if found is None:
        return []
    lines = [f"Use {found.precision}: no other precision that trains as well is faster."]
    if not found.precision:
        lines = [f"Not enough evidence: {found.reason}. Use {REFERENCE} until then."]
    reasons: dict[str, list[str]] = {}
    for candidate in found.candidates:
        if candidate.objection:
            reasons.setdefault(candidate.objection, []).append(candidate.name)
        elif candidate.name == found.precision:
            sure = f" ({found.reason})" if found.reason else ""
            lines = [f"Use {candidate.name}{sure}: {_gain(candidate)}"]
    if reasons:
        against = "; ".join(f"{', '.join(names)} ({why})" for why, names in reasons.items())
        lines.append(f"Not {against}.")
    return [*lines, f"Decide: {found.next}"] if found.next else lines


def _gain(chosen: Candidate) -> str:
    time, accuracy, dtype = chosen.time, chosen.accuracy, chosen.record.precision.variable_dtype
    memory = {"float64": "twice as much", "float32": "as much"}.get(dtype, "half as much")
    excluded = "" if accuracy.low > -ACCURACY_MARGIN else "not "
    return (
        f"{time.ratio:.2f} of the time of {REFERENCE} ({time.low:.2f} to {time.high:.2f}, 90 % "
        f"interval); its weights take {memory} memory as {REFERENCE}'s. Its accuracy is not shown "
        f"to be worse: {accuracy.mean * 100:+.1f} percentage points ({accuracy.low * 100:+.1f} to "
        f"{accuracy.high * 100:+.1f}, {accuracy.count} paired seeds); a loss of "
        f"{ACCURACY_MARGIN * 100:g} point is {excluded}excluded."
    )


def _spread(values: Sequence[float], digits: int) -> str:
    if not values:
        return NONE
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def _range(values: Sequence[object], to: str) -> str:
    return to.join(map(str, dict.fromkeys([*values[:1], *values[-1:]])))
