"""Figures of what `cnnprec.diagnosis.histograms` counts. Nothing is decided here.

Matplotlib's objects are used alone, never pyplot: no figure outlives its last reference, no
window opens, and no setting of the caller's is changed. Needs the extra ``cnnprec[plot]``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

from cnnprec.diagnosis.histograms import Kind, Snapshot
from cnnprec.precision.formats import FloatFormat, get_format

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter
except ImportError as error:
    raise ImportError(
        "the figure is drawn with Matplotlib, which is not installed. Install it with "
        "pip install 'cnnprec[plot]'."
    ) from error

COLUMNS = (
    # Under loss scaling, what float16 sees and what is meant; else the gradients themselves.
    (Kind.SCALED_GRADIENTS, Kind.GRADIENTS),
    (Kind.SECOND_MOMENT,),
    (Kind.WEIGHTS,),
    (Kind.ACTIVATIONS,),
)
"""The panels of a row: of these kinds the first that there is as bars, others as lines over it."""

# Tints of Okabe and Ito's colours, which people with any colour vision tell apart: "Color
# Universal Design", https://jfly.uni-koeln.de/color/. They differ in lightness for print too.
_BAR, _LINE = "#0072B2", "#D55E00"

# What becomes of numbers, from the smallest to the largest; the colour behind them; the share of
# a panel's width that the name needs; whether it is turned where there is less. No number of the
# dtype lies where names are turned, so they hide none.
_REGIONS = (
    ("becomes\nzero", "#F0BE55", 0.25, True),
    ("sub-\nnormal", "#FAF4B0", 0.13, False),
    ("normal", "#FFFFFF", 0.15, False),
    ("becomes\nInf", "#E3B5CD", 0.25, True),
)

# The share of a panel's width that a turned name needs.
_TURNED_WIDTH = 0.07

# Inches. Four columns and six rows fill a page of A4 at four fifths of their size.
_PANEL_WIDTH, _PANEL_HEIGHT, _FOOT = 2.4, 1.9, 0.4

# Points.
_SMALL, _LARGE = 7, 8.5

# The names of the regions, two lines high, stand above the highest bar.
_HEADROOM = 1.4


def picture_types() -> list[str]:
    """The endings of the files that a figure can be written to, such as ``"png"``."""
    return sorted(Figure().canvas.get_supported_filetypes())


def borders(form: FloatFormat) -> tuple[float, ...]:
    """The binary exponents between which a format makes numbers zero, subnormal, normal, Inf.

    Half the smallest subnormal number is a tie and rounded to the even one, which is zero.
    (TensorFlow rounds so in float16 alone; the other formats it flushes to zero from the
    smallest normal number on.) The border of Inf is the power of two behind the largest number.
    The numbers less than half a unit in the last place below a border are rounded across it.
    """
    zero = form.min_exponent - form.significand_bits
    return (-math.inf, zero, form.min_exponent, form.max_exponent + 1, math.inf)


def binades(snapshots: Iterable[Snapshot]) -> Figure:
    """Draws how large the numbers of a training step are, and what its dtypes lose.

    One row per precision in the order given, one column per row of `COLUMNS`. The abscissa is
    the binary exponent and the same for a whole column; a bar is the share of all elements, the
    zeros included, in one binade. Shares of zeros, subnormals, Inf and NaN stand above.

    Args:
        snapshots: Of one step each precision, with every kind of `COLUMNS` but the scaled
            gradients, which there are under loss scaling only; other kinds are left out.

    Returns:
        A figure that belongs to the caller alone; ``savefig`` writes it.
    """
    rows: dict[str, dict[Kind, Snapshot]] = {}
    for snapshot in snapshots:
        rows.setdefault(snapshot.precision.name, {})[snapshot.kind] = snapshot
    figure = Figure(
        figsize=(_PANEL_WIDTH * len(COLUMNS), _PANEL_HEIGHT * len(rows) + _FOOT),
        layout="constrained",
    )
    grid = figure.subplots(len(rows), len(COLUMNS), sharex="col", sharey="col", squeeze=False)
    for kinds, column in zip(COLUMNS, grid.T, strict=True):
        drawn = [[row[kind] for kind in kinds if kind in row] for row in rows.values()]
        _limit(column[0], [snapshot for panel in drawn for snapshot in panel])
        for axes, (bars, *lines) in zip(column, drawn, strict=True):
            _draw(axes, bars, lines)
            _shade(axes, get_format(bars.dtype))
            axes.tick_params(labelsize=_SMALL, labelbottom=True, length=2)
            title = _title(bars, lines)
            axes.set_title(title, loc="left", fontsize=_SMALL, linespacing=1.2, pad=3)
    figure.supylabel("share of all elements in one binade", fontsize=_LARGE)
    figure.supxlabel("binary exponent: e holds the numbers from 2^e to 2^(e+1)", fontsize=_LARGE)
    return figure


def _limit(axes: Axes, drawn: Sequence[Snapshot]) -> None:
    """Sets limits and ticks, which all panels of a column share."""
    histograms = [snapshot.histogram for snapshot in drawn]
    exponents = [e for counts in histograms for e in counts.binades] or [-1, 0]
    shares = [counts.share(n) for counts in histograms for n in counts.binades.values()]
    start, end = min(exponents), max(exponents) + 1
    margin = max(1, (end - start) // 20)
    axes.set_xlim(start - margin, end + margin)
    axes.set_ylim(0, _HEADROOM * max(shares, default=1 / _HEADROOM))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def _draw(axes: Axes, bars: Snapshot, lines: Sequence[Snapshot]) -> None:
    counts = bars.histogram
    exponents, shares = list(counts.binades), [counts.share(n) for n in counts.binades.values()]
    axes.bar(
        exponents, shares, 1.0, align="edge", color=_BAR, edgecolor="white", linewidth=0.2, zorder=3
    )
    for counts in (line.histogram for line in lines):
        span = range(min(counts.binades, default=0), max(counts.binades, default=-1) + 1)
        shares = [counts.share(counts.binades.get(exponent, 0)) for exponent in span]
        axes.stairs(shares, [*span, span.stop], color=_LINE, linewidth=1.4, zorder=4)
    if not any(snapshot.histogram.binades for snapshot in (bars, *lines)):
        text = "nothing but zero, Inf and NaN"
        axes.text(0.5, 0.45, text, transform=axes.transAxes, ha="center", fontsize=_SMALL)


def _shade(axes: Axes, form: FloatFormat) -> None:
    """Shades and names the regions inside the limits of the axis."""
    start, end = axes.get_xlim()
    for region, (low, high) in zip(_REGIONS, itertools.pairwise(borders(form)), strict=True):
        name, colour, width, upright = region
        left, right = max(low, start), min(high, end)
        if left >= right:
            continue
        axes.axvspan(left, right, color=colour, linewidth=0, zorder=1)
        share = (right - left) / (end - start)
        turned = upright and _TURNED_WIDTH <= share < width
        if turned or share >= width:
            text = axes.text((left + right) / 2, 0.97, name, ha="center", va="top", fontsize=_SMALL)
            text.set(transform=axes.get_xaxis_transform(), linespacing=1.0, zorder=5)
            if turned:
                text.set(text=name.replace("\n", " "), rotation="vertical")


def _title(bars: Snapshot, lines: Sequence[Snapshot]) -> str:
    counts = bars.histogram
    text = [f"{bars.precision.name}: {bars.kind}, {bars.dtype}"]
    if bars.skipped:
        text.append("loss scaling skipped the step")
    text += [
        f"zero {counts.percent(counts.zero)}, subnormal {counts.percent(counts.subnormal)}",
        f"Inf {counts.percent(counts.infinite)}, NaN {counts.percent(counts.nan)}",
    ]
    exponent = get_format(bars.dtype).min_exponent
    for line in lines:
        # Judged by the dtype of the bars: this is what it would lose without the scale.
        counts = line.histogram
        text += [
            f"line: {line.kind} without the scale of {bars.loss_scale:g},",
            f"{counts.percent(counts.below(exponent))} below 2^{exponent} and not zero",
        ]
    return "\n".join(text)
