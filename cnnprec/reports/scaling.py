"""A scaling study as tables and as a figure. Nothing is decided here."""

import statistics
from collections.abc import Sequence

from cnnprec.records.scaling import Point, Study
from cnnprec.reports.charts import Series, chart
from cnnprec.reports.figures import colour_of
from cnnprec.reports.results import NONE
from cnnprec.reports.svg import file
from cnnprec.text import aligned, printable
from cnnprec.verdicts.recommend import REFERENCE, crossover, over_reference
from cnnprec.verdicts.statistics import fastest_third

_HEADINGS = ("precision", "width", "batch", "us/image", "/single", "90 % interval", "peak MB")


def table(study: Study, names: Sequence[str]) -> list[str]:
    """A row for each point, why some are missing, and where each precision overtakes single."""
    rows: list[tuple[str, ...]] = [_HEADINGS]
    reasons = []
    for width, batch in sorted({(p.width, p.batch) for p in study.points}):
        points = study.of(width, batch)
        for name in (name for name in names if name in points):
            point, ratio = points[name], over_reference(points, name)
            found = (f"{ratio.ratio:.2f}", f"{ratio.low:.2f} to {ratio.high:.2f}") if ratio else ()
            time = f"{_microseconds(point):.1f}" if point.step_seconds else "does not fit"
            peak = f"{point.peak_memory_bytes / 1e6:.0f}" if point.peak_memory_bytes else NONE
            rows.append((name, str(width), str(batch), time, *(found or (NONE, NONE)), peak))
            if point.missing:
                place = f"{name} at width {width}, batch {batch}"
                reasons.append(f"{place}: {printable(point.missing)}")
    widths = sorted({p.width for p in study.points})
    crossed = [("faster than single from batch", *(f"width {width}" for width in widths))]
    for name in names:
        batches = (str(crossover(study, name, width) or "none") for width in widths)
        crossed += [] if name == REFERENCE else [(name, *batches)]
    return [*aligned(rows, left=1), *reasons, "", *aligned(crossed, left=1)]


def plot(study: Study, names: Sequence[str]) -> str:
    """Time per image over the batch as a file of SVG, a chart for each width."""
    drawn = []
    for width in sorted({p.width for p in study.points}):
        points = [p for p in study.points if p.width == width and p.step_seconds]
        lines = []
        for name in names:
            found = sorted((p.batch, _microseconds(p)) for p in points if p.precision == name)
            lines.append(Series(name, colour_of(name), found))
        drawn.append(chart(f"width {width}", "batch", "us per image", lines, logarithmic=True))
    return file((one.title, one.svg) for one in drawn if one is not None)


def _microseconds(point: Point) -> float:
    return statistics.geometric_mean(fastest_third(point.step_seconds)) / point.batch * 1e6
