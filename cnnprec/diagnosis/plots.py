"""The figure of what `cnnprec.diagnosis.histograms` counts. Needs the extra ``cnnprec[plot]``."""

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np

from cnnprec.diagnosis.histograms import Kind, Snapshot
from cnnprec.precision.formats import FloatFormat, get_format

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch
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
# What becomes of numbers, from the smallest to the largest, and the colour behind them.
_REGIONS = {
    "becomes zero": "#F0BE55",
    "subnormal": "#FAF4B0",
    "normal": "#FFFFFF",
    "becomes Inf": "#E3B5CD",
}
# Inches. Four columns and six rows fill a page of A4 at four fifths of their size.
_PANEL_WIDTH, _PANEL_HEIGHT, _FOOT = 2.4, 1.9, 0.7
_POINTS = 7


def picture_types() -> list[str]:
    """The endings of the files that a figure can be written to, such as ``"png"``."""
    return sorted(Figure().canvas.get_supported_filetypes())


def borders(form: FloatFormat) -> tuple[float, ...]:
    """The binary exponents between which a format makes numbers zero, subnormal, normal, Inf.

    TensorFlow rounds so in float16 alone, and flushes the subnormals of the other formats.
    """
    zero = form.min_exponent - form.significand_bits
    return (-math.inf, zero, form.min_exponent, form.max_exponent + 1, math.inf)


def binades(snapshots: Iterable[Snapshot]) -> Figure:
    """Draws the numbers of one training step: a row a precision, a column each of `COLUMNS`."""
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
        for axes, (bars, *lines) in zip(column, drawn, strict=True):
            _draw(axes, bars, lines)
        for axes, (bars, *_) in zip(column, drawn, strict=True):
            _shade(axes, get_format(bars.dtype))
    figure.supylabel("share of all elements in one binade", fontsize=_POINTS)
    figure.supxlabel("binary exponent: e holds the numbers from 2^e to 2^(e+1)", fontsize=_POINTS)
    patches = [Patch(color=colour, label=name, ec="grey") for name, colour in _REGIONS.items()]
    figure.legend(handles=patches, loc="outside upper right", ncols=4, fontsize=_POINTS)
    return figure


def _draw(axes: Axes, bars: Snapshot, lines: Sequence[Snapshot]) -> None:
    counts = bars.histogram
    exponents, shares = list(counts.binades), [counts.share(n) for n in counts.binades.values()]
    axes.bar(exponents, shares, 1.0, align="edge", color=_BAR, zorder=3)
    title = [
        f"{bars.precision.name}: {bars.kind}, {bars.dtype}",
        *(["loss scaling skipped the step"] if bars.skipped else []),
        f"zero {counts.percent(counts.zero)}, subnormal {counts.percent(counts.subnormal)}",
        f"Inf {counts.percent(counts.infinite)}, NaN {counts.percent(counts.nan)}",
    ]
    exponent = get_format(bars.dtype).min_exponent
    for line in lines:
        # Judged by the dtype of the bars: this is what it would lose without the scale.
        counts = line.histogram
        span = range(min(counts.binades, default=0), max(counts.binades, default=-1) + 1)
        shares = [counts.share(counts.binades.get(binade, 0)) for binade in span]
        axes.stairs(shares, [*span, span.stop], color=_LINE, linewidth=1.4, zorder=4)
        title += [
            f"line: {line.kind} without the scale of {bars.loss_scale:g},",
            f"{counts.percent(counts.below(exponent))} below 2^{exponent} and not zero",
        ]
    axes.set_title("\n".join(title), loc="left", fontsize=_POINTS, pad=3)
    axes.tick_params(labelsize=_POINTS, labelbottom=True, length=2)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def _shade(axes: Axes, form: FloatFormat) -> None:
    """Shades the regions inside the limits of the axis, which stay as they are."""
    limits = axes.get_xlim()
    edges = np.clip(borders(form), *limits)
    for (left, right), colour in zip(itertools.pairwise(edges), _REGIONS.values(), strict=True):
        axes.axvspan(left, right, color=colour, linewidth=0, zorder=1)
    axes.set_xlim(limits)
