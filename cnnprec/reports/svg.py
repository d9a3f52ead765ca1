"""Elements of SVG in the colours of a page, which `palette.css` names."""

import textwrap
from collections.abc import Iterable
from html import escape
from pathlib import Path

WIDTH = 360  # of a picture, in units of a pixel or a little more: what a telephone shows
LETTER = 6.2  # mean width of a letter of a text

_PALETTE = Path(__file__).with_name("palette.css")
_SHAPES = (
    "M-3 0A3 3 0 1 0 3 0 3 3 0 1 0-3 0Z",
    "M-3-3H3V3H-3Z",
    "M0-4 4 0 0 4-4 0Z",
    "M0-4 4 3H-4Z",
)
_DASHES = ("none", "6 3", "2 2", "8 3 2 3")

Place = tuple[float, float]


def text(x: float, y: float, words: str, anchor: str = "start") -> str:
    """Words that begin (``start``), have their middle or ``end`` at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def line(points: Iterable[Place], colour: str = "ink", more: str = "") -> str:
    """A line through points, in a colour of the palette."""
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path d="M{path}" fill="none" style="stroke:var(--{colour})" {more}/>'


def curve(points: Iterable[Place], series: int) -> str:
    """The line of a series, by its colour and its dashes."""
    return line(
        points, f"c{series}", f'stroke-width="1.5" stroke-dasharray="{_DASHES[series % 4]}"'
    )


def area(points: Iterable[Place], series: int) -> str:
    """What points enclose, in the colour of a series."""
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path d="M{path}Z" style="fill:var(--c{series})"/>'


def mark(x: float, y: float, series: int) -> str:
    """A point of a series, by its colour and its shape."""
    moved = f'transform="translate({x:.1f} {y:.1f})"'
    return f'<path d="{_SHAPES[series % 4]}" {moved} style="fill:var(--c{series})"/>'


def picture(parts: Iterable[str], height: float) -> str:
    """A part of a page that has these elements."""
    start = f'<svg viewBox="0 0 {WIDTH} {height:.0f}" fill="currentColor" font-size="11">'
    return f"{start}{''.join(parts)}</svg>"


def file(pictures: Iterable[tuple[str, str]]) -> str:
    """A file of its own that has pictures, each below its title."""
    parts, top = [], 0.0
    for title, drawn in pictures:
        for words in textwrap.wrap(title, int(WIDTH / LETTER)):
            top += 15
            parts.append(text(4, top, words))
        height = float(drawn.split('"', 2)[1].split()[-1])
        place = f'<svg y="{top + 6:.0f}" width="{WIDTH}" height="{height:.0f}"'
        parts.append(drawn.replace("<svg", place, 1))
        top += height + 18
    name = 'xmlns="http://www.w3.org/2000/svg"'
    style = "background:var(--panel);color:var(--ink);font-family:sans-serif"
    size = f'viewBox="0 0 {WIDTH} {top:.0f}" width="{1.5 * WIDTH:.0f}"'
    start = f'<svg {name} {size} style="{style}" font-size="11"'
    whole = "".join([f"<style>{_PALETTE.read_text()}</style>", *parts])
    return f'{start} fill="currentColor">{whole}</svg>\n'
