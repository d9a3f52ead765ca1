"""The charts of one session: those that it has figures for."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnprec.precision.precisions import rank
from cnnprec.records.record import Record
from cnnprec.reports.charts import Chart, Series, chart
from cnnprec.reports.results import in_order
from cnnprec.reports.verdicts import measured
from cnnprec.verdicts.recommend import REFERENCE, recommend
from cnnprec.verdicts.verdict import Comparison

if TYPE_CHECKING:  # the library that finds changes takes a second to load
    from cnnprec.verdicts.history import History

Point = tuple[Any, ...]


def charts(
    records: Sequence[Record], comparison: Comparison | None, history: "History | None"
) -> list[Chart]:
    """Those of the records, in the order of the tables, of the verdicts and of the history."""
    ranked = in_order(records)
    over, levels = f"Time of a step over {REFERENCE}'s", _levels(history) if history else []
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
        chart("Errors of operations", "error over its bound", "", _each(ranked, _errors)),
        chart("Saved sessions", "session, oldest first", "time over its median", levels),
    )
    return [one for one in made if one is not None]


def _each(ranked: Sequence[Record], points: Callable[[Record], list[Point]]) -> list[Series]:
    style = "steps-post" if points is _loss_scale else "default"
    return [
        Series(record.precision.name, rank(record.precision.name)[0], points(record), style)
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


def _levels(history: "History") -> list[Series]:
    """The sessions of each precision whose time changed, and its levels."""
    found = []
    for name, starts in history.starts.items():
        if starts[1:]:
            times, levels = np.exp(history.times[name]), np.exp(history.levels(name))
            edges = zip((*starts, len(times) - 1), (*levels, levels[-1]), strict=True)
            found += [
                Series(name, rank(name)[0], [*enumerate(times)], "dots"),
                Series(f"{name}, level", rank(name)[0], [*edges], "steps-post"),
            ]
    return found
