"""The charts of one session: those that it has figures for."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cnnprec.precision.formats import get_format
from cnnprec.precision.precisions import XLA, Precision, rank
from cnnprec.records.numerics import Histogram, Kind
from cnnprec.records.record import Record
from cnnprec.reports.charts import Chart, Ridge, Series, chart, ridges
from cnnprec.reports.history import sentence
from cnnprec.reports.results import in_order
from cnnprec.reports.verdicts import measured
from cnnprec.verdicts.history import History
from cnnprec.verdicts.recommend import REFERENCE, recommend
from cnnprec.verdicts.verdict import Comparison

Point = tuple[Any, ...]

_BINADES = {
    Kind.GRADIENTS: "Gradients of the first step",
    Kind.SECOND_MOMENTS: "Adam's second moments after it",
    Kind.WEIGHTS: "Weights after it",
}
_SHARES = ("zero", "subnormal", "infinite", "NaN")


def charts(
    records: Sequence[Record], comparison: Comparison | None, history: History | None
) -> list[Chart]:
    """Those of the records, in the order of the tables, of the verdicts and of the history."""
    ranked, over = in_order(records), f"Time of a step over {REFERENCE}'s"
    losses = [
        drawn._replace(name=f"{drawn.name}: {record.rounds[0].run.outcome}")
        for drawn, record in zip(_each(ranked, _loss), ranked, strict=True)
    ]
    made = (
        chart(over, "ratio, 90 % interval", "", [Series("", 0, _times(ranked))]),
        chart("Test accuracy", "share, mean and range", "", [Series("", 0, [*map(_seen, ranked)])]),
        chart("Against the baseline", "ratio, 95 % bounds", "", _ratios(comparison)),
        chart("Loss of the first run", "step, later means of epochs", "loss", losses),
        chart("Loss scale of the first run", "step", "loss scale", _each(ranked, _loss_scale)),
        chart("Time of a step by turns", "turn", "ms", _each(ranked, _turns)),
        *binades((r.precision, r.numerics.binades) for r in ranked if r.numerics),
        *(levels(history, changed=True) if history else ()),
        chart("Errors of operations", "error over its bound", "", _each(ranked, _errors)),
    )
    return [one for one in made if one is not None]


def levels(history: History, *, changed: bool = False) -> list[Chart]:
    """The sessions of each precision and its levels; only of those that changed, if asked."""
    found = []
    for name, starts in history.starts.items():
        times = list(map(math.exp, history.times[name]))
        means = list(map(math.exp, history.levels(name)))
        edges = list(zip((*starts, len(times) - 1), (*means, means[-1]), strict=True))
        colour = colour_of(name)
        drawn = [
            Series(name, colour, [*enumerate(times)], "dots"),
            Series("level", colour, edges, "steps"),
        ]
        if starts[1:] or not changed:
            over = "time over its median"
            found.append(chart(sentence(history, name), "session, oldest first", over, drawn))
    return [one for one in found if one is not None]


def binades(counted: Iterable[tuple[Precision, Iterable[Histogram]]]) -> list[Chart]:
    """How large the numbers of the first step are, a chart for each kind; none without a number."""
    rows: dict[Kind, list[Ridge]] = {kind: [] for kind in _BINADES}
    for precision, histograms in counted:
        for counts in histograms:
            scaled = counts.kind is Kind.SCALED_GRADIENTS
            kind = Kind.GRADIENTS if scaled else counts.kind
            rows[kind].append(_ridge(precision, counts, scaled=scaled))
    headings = ("", "dtype", *_SHARES, "smallest", "median", "largest")
    axis = "binary exponent; thick line: normal, thin: subnormal"
    made = (ridges(title, axis, rows[kind], headings) for kind, title in _BINADES.items())
    return [one for one in made if one is not None]


def _ridge(precision: Precision, counts: Histogram, *, scaled: bool) -> Ridge:
    dtype = precision.compute_dtype if scaled else precision.variable_dtype
    form = get_format(dtype)
    name = f"{precision.name} times the loss scale" if scaled else precision.name
    others = (counts.zero, counts.below(form.min_exponent), counts.infinite, counts.nan)
    shares = [_percent(count, counts.elements) for count in others]
    known = ("", "", "")
    if any(counts.counts):
        last = counts.first + len(counts.counts) - 1
        known = (str(counts.first), str(counts.median), str(last))
    told = [f"{share} {word}" for share, word in zip(shares, _SHARES, strict=True) if share != "0%"]
    end = form.max_exponent + 1
    return Ridge(
        name=f"{name}: {', '.join(told)}" if told else name,
        colour=colour_of(precision.name),
        counts=counts.counts,
        first=counts.first,
        thick=(form.min_exponent, end),
        thin=(form.min_exponent - form.significand_bits + 1, end),
        cells=(name, dtype, *shares, *known),
    )


def colour_of(name: str) -> int:
    """The number of a precision's colour in `palette.css`; compiled by XLA it has another one."""
    place = rank(name)[0] // 2  # the names with and without XLA follow each other
    return (place + 4) % 9 if name.endswith(XLA) else place


def _percent(count: int, elements: int) -> str:
    """A count in percent; only none at all is ``0%``, only all ``100%``."""
    if count in (0, elements):
        return f"{bool(count):.0%}"
    share = count / elements
    if share < 0.001:
        return "<0.1%"
    return ">99.9%" if share > 0.999 else f"{share:.1%}"


def _each(ranked: Sequence[Record], points: Callable[[Record], list[Point]]) -> list[Series]:
    style = "steps" if points is _loss_scale else "line"
    return [
        Series(record.precision.name, colour_of(record.precision.name), points(record), style)
        for record in ranked
    ]


def _times(ranked: Sequence[Record]) -> list[Point]:
    found = recommend(ranked)
    times = [(c.name, c.time) for c in (found.candidates if found else ()) if c.time.count]
    return [(name, time.ratio, time.low, time.high) for name, time in times]


def _seen(record: Record) -> Point:
    seen = [entry.run.test_accuracy for entry in record.rounds]
    return record.precision.name, sum(seen) / len(seen), min(seen), max(seen)


def _ratios(comparison: Comparison | None) -> list[Series]:
    """The ratios of what was judged, and the smallest that would have been found."""
    found = [
        (f"{judgement.precision} {judgement.quantity}", judgement.estimate)
        for judgement in (measured(comparison) if comparison else ())
        if judgement.estimate
    ]
    return [
        Series("this session", 0, [(row, e.ratio, e.low, e.high) for row, e in found]),
        Series("found with 80 %", 1, [(row, 1 + e.detectable) for row, e in found]),
    ]


def _loss(record: Record) -> list[Point]:
    """The losses of the first steps, and the mean of each epoch at its end."""
    run, epoch = record.rounds[0].run, record.config.steps // record.config.epochs
    means = [((place + 1) * epoch, loss) for place, loss in enumerate(run.losses)]
    return [*enumerate(run.first_losses), *means]


def _loss_scale(record: Record) -> list[Point]:
    scales = record.rounds[0].run.loss_scales
    return [*scales, (record.config.steps, scales[-1][1])] if scales else []


def _turns(record: Record) -> list[Point]:
    times = record.turns.step_seconds if record.turns else ()
    return [(place + 1, seconds * 1e3) for place, seconds in enumerate(times)]


def _errors(record: Record) -> list[Point]:
    probes = record.numerics.probes if record.numerics else ()
    return [(probe.name, probe.error) for probe in probes]
