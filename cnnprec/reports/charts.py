"""A chart as inline SVG in the colours of its page, and the same figures as a table."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from cnnprec.reports.scale import Scale
from cnnprec.reports.svg import LETTER, WIDTH, Place, area, curve, line, mark, picture, text

_LARGEST = 1e30  # beyond it a value is not drawn
_LEFT, _RIGHT = 44.0, WIDTH - 10.0  # ends of an axis below lines, with room for names beside it
_TOP, _BOTTOM = 22.0, 160.0  # of lines
_ROW = 30.0  # of an interval, with its name above it
_RIDGE = 46.0  # of a histogram, likewise


class Series(NamedTuple):
    """Points ``(x, y)`` of a line, or ``(row, value, low, high)`` of intervals in named rows."""

    name: str
    colour: int
    points: Sequence[tuple[Any, ...]]
    style: str = "line"  # of a line, else ``steps`` or ``dots``


class Ridge(NamedTuple):
    """A histogram in a row of its own."""

    name: str
    colour: int
    counts: Sequence[int]  # of 1, 2, ... from `first` on
    first: int
    thick: tuple[float, float]  # where its axis is drawn as a thick line
    thin: tuple[float, float]  # where it is drawn as a thin one
    cells: tuple[str, ...]  # of its row of the table


@dataclasses.dataclass(frozen=True)
class Chart:
    """A picture as SVG, and the figures in it below their headings."""

    title: str
    what: str
    svg: str
    table: list[tuple[str, ...]]


def chart(
    title: str, x: str, y: str, given: Iterable[Series], *, logarithmic: bool = False
) -> Chart | None:
    """Draws lines, or intervals with a mark at 1; None without points."""
    series = [one for one in given if one.points]
    if not series:
        return None
    rows = list(dict.fromkeys(point[0] for one in series for point in one.points))
    by_name = isinstance(rows[0], str)
    height = 18 + _ROW * len(rows) if by_name else _BOTTOM
    parts = _intervals(series, rows, height) if by_name else _lines(series, y, logarithmic)
    parts.append(text(WIDTH / 2, height + 32, x, "middle"))
    height += 40
    if series[0].name:
        beside = 1 if max(len(one.name) for one in series) * LETTER > WIDTH / 2 - 34 else 2
        parts += _legend(series, height, beside)
        height += 16 * math.ceil(len(series) / beside)
    columns = [{point[0]: _figures(*point[1:]) for point in one.points} for one in series]
    cells = [(str(row), *(column.get(row, "") for column in columns)) for row in rows]
    headings = ("" if by_name else x, *(one.name or x for one in series))
    return Chart(
        title, x if by_name else f"{y} over {x}", picture(parts, height), [headings, *cells]
    )


def ridges(title: str, x: str, given: Sequence[Ridge], headings: tuple[str, ...]) -> Chart | None:
    """Draws histograms below each other; None without one that has a count."""
    spans = [(r.first, r.first + len(r.counts)) for r in given if any(r.counts)]
    if not spans:
        return None
    across = Scale.around(itertools.chain(*spans), 4, WIDTH - 4)
    bottom = _RIDGE * len(given)
    parts = _across(across, 0, bottom)
    for place, ridge in enumerate(given):
        base, most = _RIDGE * (place + 1) - 3, max(ridge.counts, default=0)
        edges: list[Place] = [(across(ridge.first), base)]
        for exponent, count in enumerate(ridge.counts, ridge.first):
            high = base - (_RIDGE - 18) * count / (most or 1)
            edges += [(across(exponent), high), (across(exponent + 1), high)]
        parts.append(area([*edges, (edges[-1][0], base)], ridge.colour))
        for (low, high), width in ((ridge.thin, 1), (ridge.thick, 3)):
            if high > across.low and low < across.high:
                ends = [(across(low), base), (across(high), base)]
                parts.append(line(ends, more=f'stroke-width="{width}"'))
        parts.append(text(4, base - _RIDGE + 14, ridge.name))
    parts.append(text(WIDTH / 2, bottom + 32, x, "middle"))
    return Chart(title, x, picture(parts, bottom + 38), [headings, *(r.cells for r in given)])


def _across(scale: Scale, top: float, bottom: float) -> list[str]:
    """The grid and the numbers of an axis at the bottom."""
    parts = []
    for tick in scale.ticks():
        place = scale(tick)
        parts.append(line([(place, top), (place, bottom)], "line"))
        parts.append(text(place, bottom + 16, f"{tick:g}", "middle"))
    return parts


def _intervals(series: Iterable[Series], rows: list[str], bottom: float) -> list[str]:
    found = [v for one in series for point in one.points for v in point[1:] if abs(v) < _LARGEST]
    across = Scale.around([1.0, *found], 4, WIDTH - 4)
    one = across(1.0)
    parts = [*_across(across, 0, bottom), line([(one, 0), (one, bottom)])]
    parts += [text(4, _ROW * place + 14, row) for place, row in enumerate(rows)]
    for _, colour, points, _ in series:
        for row, *values in points:
            if not any(map(math.isnan, values)):
                y = _ROW * rows.index(row) + 21
                ends = [(across(min(values)), y), (across(max(values)), y)]
                parts += [line(ends, f"c{colour}", 'stroke-width="2"')] if values[1:] else []
                parts.append(mark(across(values[0]), y, colour))
    return parts


def _lines(series: Sequence[Series], y: str, logarithmic: bool) -> list[str]:
    # False for NaN too.
    shown = [[point for point in one.points if abs(point[1]) < _LARGEST] for one in series]
    values = [value for points in shown for _, value in points] or [0.0]
    low, high = min(values), max(values)
    up = Scale.around(values, _BOTTOM, _TOP)
    if logarithmic or 0 < 10 * low < high:
        up = Scale(low / 1.1, high * 1.1, _BOTTOM, _TOP, logarithmic=True)
    places = [point[0] for one in series for point in one.points]
    across = Scale(min(places), max(min(places) + 1, *places), _LEFT, _RIGHT, logarithmic)
    parts = [*_across(across, _TOP, _BOTTOM), line([(_LEFT, _BOTTOM), (_RIGHT, _BOTTOM)])]
    for tick in up.ticks():
        parts.append(line([(_LEFT, up(tick)), (_RIGHT, up(tick))], "line"))
        parts.append(text(_LEFT - 4, up(tick) + 4, f"{tick:g}", "end"))
    parts.append(text(4, 12, y))
    for one, points in zip(series, shown, strict=True):
        found = [(across(x), up(value)) for x, value in points]
        if one.style == "dots" or len(found) == 1:
            parts += [mark(*place, one.colour) for place in found]
        elif found:
            corners = [(b[0], a[1]) for a, b in itertools.pairwise(found)]
            stairs = [p for pair in itertools.zip_longest(found, corners) for p in pair if p]
            parts.append(curve(stairs if one.style == "steps" else found, one.colour))
    return parts


def _legend(series: Sequence[Series], top: float, columns: int) -> list[str]:
    parts = []
    for place, one in enumerate(series):
        x, y = 4 + WIDTH / columns * (place % columns), top + 16 * (place // columns) + 8
        marked = one.style == "dots" or isinstance(one.points[0][0], str)
        drawn = mark(x + 10, y, one.colour) if marked else curve([(x, y), (x + 20, y)], one.colour)
        parts += [drawn, text(x + 26, y + 4, one.name)]
    return parts


def _figures(value: float, *ends: float) -> str:
    return f"{value:.4g}" + (f" ({ends[0]:.4g} to {ends[1]:.4g})" if ends else "")
