"""A chart as inline SVG in the colours of its page, with a table. Needs ``cnnprec[report]``."""

import dataclasses
import io
import math
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

_WIDTH, _HEIGHT, _ROW = 3.8, 2.5, 0.2  # inches of 96 pixels each: what a telephone shows
_LARGEST = 1e30  # beyond it Matplotlib's arithmetic overflows
_LONGEST = 30  # characters of a label
_MARKERS, _DASHES = "osD^vPX*d", ("-", "--", "-.", ":")
# Colours that the page replaces by its own: of the text, of the grid, of the series from 3 on.
_INK, _GRID, _SERIES = "#000001", "#000002", "#0000{:02x}"
_SETTINGS: Any = {
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor"), _INK),
    **dict.fromkeys(("xtick.color", "ytick.color"), _INK),
    **dict.fromkeys(("axes.facecolor", "figure.facecolor", "savefig.facecolor"), "none"),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("axes.grid", "axes.axisbelow"), True),
    **dict(zip(("grid.color", "font.size", "lines.markersize"), (_GRID, 8.5, 4.0), strict=True)),
    **dict(zip(("svg.fonttype", "svg.hashsalt"), ("none", "cnnprec"), strict=True)),
    "text.parse_math": False,
}


class Series(NamedTuple):
    """Points ``(x, y)`` of a line, or ``(row, value, low, high)`` of intervals in named rows."""

    name: str
    colour: int
    points: Sequence[tuple[Any, ...]]
    style: str = "default"  # Matplotlib's draw style of a line, or ``dots``


@dataclasses.dataclass(frozen=True)
class Chart:
    """A picture as SVG, and the figures in it below their headings."""

    title: str
    what: str
    svg: str
    table: list[tuple[str, ...]]


def chart(title: str, x: str, y: str, given: Iterable[Series]) -> Chart | None:
    """Draws lines, or intervals around a value with a mark at 1; None without points."""
    series = [one for one in given if one.points]
    if not series:
        return None
    rows = list(dict.fromkeys(point[0] for one in series for point in one.points))
    by_name = isinstance(rows[0], str)
    with rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # no font has every letter
        figure = Figure(layout="constrained")
        axes = figure.subplots()
        (_intervals if by_name else _lines)(axes, series, rows)
        axes.set(xlabel=x, ylabel="" if by_name else y)
        height = 0.9 + _ROW * len(rows) if by_name else _HEIGHT
        if series[0].name:
            figure.legend(loc="outside lower center", ncols=2)
            height += _ROW * math.ceil(len(series) / 2)
        figure.set_size_inches(_WIDTH, height)
        file = io.StringIO()
        unsaid = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=unsaid)
    columns = [{point[0]: _text(*point[1:]) for point in one.points} for one in series]
    cells = [(str(row), *(column.get(row, "") for column in columns)) for row in rows]
    headings = ("" if by_name else x, *(one.name or x for one in series))
    what = x if by_name else f"{y} over {x}"
    return Chart(title, what, _inline(file.getvalue(), title), [headings, *cells])


def _intervals(axes: Axes, series: Iterable[Series], rows: list[str]) -> None:
    found = [v for one in series for point in one.points for v in point[1:] if abs(v) < _LARGEST]
    least, most = min(1.0, *found), max(1.0, *found)
    room = 0.06 * (most - least) or 0.05
    ends = (least - room, most + room)
    for name, colour, points, _ in series:
        places = [rows.index(point[0]) for point in points]
        # What is infinite goes on beyond the frame.
        values = np.clip([point[1:] for point in points], *ends)
        paint = _SERIES.format(colour + 3)
        axes.hlines(places, values.min(1), values.max(1), color=paint, linewidth=2)
        axes.plot(values[:, 0], places, _MARKERS[colour % 9], color=paint, label=name)
    axes.axvline(1, color=_INK, linewidth=1)
    axes.set_yticks(range(len(rows)), [_label(row) for row in rows])
    axes.set(xlim=ends, ylim=(len(rows) - 0.5, -0.5))


def _lines(axes: Axes, series: Iterable[Series], _: list[float]) -> None:
    values: list[float] = []
    for name, colour, points, style in series:
        shown = [point for point in points if abs(point[1]) < _LARGEST]  # false for NaN too
        values += [value for _, value in shown]
        alone = style == "dots" or len(shown) == 1
        axes.plot(
            *([point[place] for point in shown] for place in (0, 1)),
            _MARKERS[colour % 9] if alone else _DASHES[colour % 4],
            color=_SERIES.format(colour + 3),
            drawstyle="default" if alone else style,
            label=_label(name),
        )
    if values and 0 < 10 * min(values) < max(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_locator(NullLocator())


def _inline(file: str, title: str) -> str:
    """A file of Matplotlib's as a part of a page, with names of its own and the page's colours."""
    key = re.sub(r"\W+", "-", title)
    start, _, rest = file.partition("<defs>")
    rest = re.sub(r"<style.*?</style>", "", rest, flags=re.DOTALL)
    rest = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{key}-", rest)
    rest = re.sub(r": #0000([0-9a-f]{2})\b", lambda m: f": var(--c{int(m[1], 16)})", rest)
    return f"<svg {start[start.index('viewBox') :]}<defs>{rest}"


def _text(value: float, *ends: float) -> str:
    return f"{value:.4g}" + (f" ({ends[0]:.4g} to {ends[1]:.4g})" if ends else "")


def _label(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
