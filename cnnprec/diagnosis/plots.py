"""Figures of what `cnnprec.diagnosis.histograms` counts. Nothing is decided here.

Matplotlib's objects are used alone, never pyplot: no figure outlives its last reference, no
window opens, and no setting of the caller's is changed. Needs the extra ``cnnprec[plot]``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from cnnprec.diagnosis.histograms import Histogram, Kind, Snapshot, percent, vanishing_exponent
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


@dataclasses.dataclass(frozen=True)
class Panel:
    """A column of `binades`.

    Attributes:
        bars: The kind drawn as bars. The dtype of these numbers decides the regions.
        line: The kind drawn as a line over them; None for bars alone.
        otherwise: The kind drawn as bars where a precision has none of `bars`; None for an
            empty panel.
    """

    bars: Kind
    line: Kind | None = None
    otherwise: Kind | None = None


PANELS = (
    # Under loss scaling, what float16 sees and what is meant; else the gradients themselves.
    Panel(Kind.SCALED_GRADIENTS, line=Kind.GRADIENTS, otherwise=Kind.GRADIENTS),
    Panel(Kind.SECOND_MOMENT),
    Panel(Kind.WEIGHTS),
    Panel(Kind.ACTIVATIONS),
)
"""The columns of `binades`, from left to right."""


@dataclasses.dataclass(frozen=True)
class Region:
    """A span of magnitudes and what becomes of them when rounded to a dtype.

    Attributes:
        label: What it says in the figure.
        start, end: Binary exponents; the region is ``2**start < |x| <= 2**end``.
    """

    label: str
    start: float
    end: float


@dataclasses.dataclass(frozen=True)
class _Shade:
    """How a region is drawn.

    Attributes:
        colour: Its background.
        text: Its name, broken into short lines.
        width: The share of a panel's width that the name needs.
        upright: Whether the name is turned where there is less. No number of the dtype lies
            there, so it hides none.
    """

    colour: str
    text: str
    width: float
    upright: bool = False


# Tints of Okabe and Ito's colours, which people with any colour vision tell apart: "Color
# Universal Design", https://jfly.uni-koeln.de/color/. They differ in lightness for print too.
_BAR = "#0072B2"

_LINE = "#D55E00"

_SHADES = {
    "zero": _Shade("#F0BE55", "becomes\nzero", 0.25, upright=True),
    "subnormal": _Shade("#FAF4B0", "sub-\nnormal", 0.13),
    "normal": _Shade("#FFFFFF", "normal", 0.15),
    "Inf": _Shade("#E3B5CD", "becomes\nInf", 0.25, upright=True),
}

# Inches. Four columns and six rows fill a page of A4 at four fifths of their size.
_PANEL_WIDTH, _PANEL_HEIGHT, _FOOT = 2.4, 1.9, 0.4

# Points.
_SMALL, _LARGE = 7, 8.5

# The names of the regions, two lines high, stand above the highest bar.
_HEADROOM = 1.4

# The share of a panel's width that a turned name needs.
_TURNED_WIDTH = 0.07

_EMPTY_AXIS = (-1, 1)


def picture_types() -> list[str]:
    """The endings of the files that a figure can be written to, such as ``"png"``."""
    return sorted(Figure().canvas.get_supported_filetypes())


def regions(form: FloatFormat) -> tuple[Region, ...]:
    """The magnitudes that a format rounds to zero, to subnormal and normal numbers, to Inf.

    The border between subnormal and normal is the smallest normal number, that of Inf the
    power of two behind the largest number. The numbers less than half a unit in the last
    place below these borders are rounded across them.
    """
    zero, normal, end = vanishing_exponent(form), form.min_exponent, form.max_exponent + 1
    return (
        Region("zero", -float("inf"), zero),
        Region("subnormal", zero, normal),
        Region("normal", normal, end),
        Region("Inf", end, float("inf")),
    )


def binades(snapshots: Iterable[Snapshot], *, panels: Sequence[Panel] = PANELS) -> Figure:
    """Draws how large the numbers of a training step are, and what its dtypes lose.

    One row per precision in the order given, one column per panel. The abscissa is the
    binary exponent and the same for a whole column; a bar is the share of all elements, the
    zeros included, in one binade. Shares of zeros, subnormals, Inf and NaN stand above.

    Args:
        snapshots: Of one step each precision; what no panel draws is left out.
        panels: The columns.

    Returns:
        A figure that belongs to the caller alone; ``savefig`` writes it.

    Raises:
        ValueError: There is nothing to draw, or two snapshots for one place.
    """
    rows: dict[str, dict[Kind, Snapshot]] = {}
    for snapshot in snapshots:
        row = rows.setdefault(snapshot.precision.name, {})
        if snapshot.kind in row:
            raise ValueError(
                f"two snapshots of {snapshot.precision} {snapshot.kind} (steps "
                f"{row[snapshot.kind].step} and {snapshot.step}); give one of each"
            )
        row[snapshot.kind] = snapshot
    chosen = {name: [_choose(row, panel) for panel in panels] for name, row in rows.items()}
    if not any(pair for row in chosen.values() for pair in row):
        raise ValueError(
            "no snapshot to draw; give at least one of "
            + ", ".join(str(panel.bars) for panel in panels)
        )
    figure = Figure(
        figsize=(_PANEL_WIDTH * len(panels), _PANEL_HEIGHT * len(rows) + _FOOT),
        layout="constrained",
    )
    grid = figure.subplots(len(rows), len(panels), sharex="col", sharey="col", squeeze=False)
    for axes_row, drawn_row in zip(grid, chosen.values(), strict=True):
        for axes, drawn in zip(axes_row, drawn_row, strict=True):
            _draw(axes, drawn)
    for column, axes_column in enumerate(grid.T):
        _frame(axes_column, [row[column] for row in chosen.values()])
    figure.supylabel("share of all elements in one binade", fontsize=_LARGE)
    figure.supxlabel("binary exponent: e holds the numbers from 2^e to 2^(e+1)", fontsize=_LARGE)
    return figure


def _choose(row: dict[Kind, Snapshot], panel: Panel) -> list[Snapshot]:
    """The snapshots of a panel: the bars, and then the line if there is one."""
    if panel.bars in row:
        kinds = [panel.bars] + ([panel.line] if panel.line is not None else [])
    else:
        kinds = [panel.otherwise] if panel.otherwise is not None else []
    return [row[kind] for kind in kinds if kind in row]


def _draw(axes: Axes, drawn: Sequence[Snapshot]) -> None:
    if not drawn:
        axes.set_axis_off()
        return
    bars, *lines = drawn
    counts = bars.histogram
    exponents = list(counts.binades)
    axes.bar(
        exponents,
        [counts.share(count) for count in counts.binades.values()],
        width=1.0,
        align="edge",
        color=_BAR,
        edgecolor="white",
        linewidth=0.2,
        label=str(bars.kind),
        zorder=3,
    )
    for snapshot in lines:
        shares = snapshot.histogram
        span = range(min(shares.binades, default=0), max(shares.binades, default=-1) + 1)
        axes.stairs(
            [shares.share(shares.binades.get(exponent, 0)) for exponent in span],
            [*span, span.stop],
            color=_LINE,
            linewidth=1.4,
            label=str(snapshot.kind),
            zorder=4,
        )
    if not any(snapshot.histogram.binades for snapshot in drawn):
        axes.text(
            0.5,
            0.45,
            "nothing but zero, Inf and NaN",
            transform=axes.transAxes,
            ha="center",
            fontsize=_SMALL,
        )
    axes.set_title(_title(bars, lines), loc="left", fontsize=_SMALL, linespacing=1.2, pad=3)


def _title(bars: Snapshot, lines: Sequence[Snapshot]) -> str:
    text = [f"{bars.precision.name}: {bars.kind}, {bars.dtype}"]
    if bars.skipped:
        text.append("loss scaling skipped the step")
    text += _shares(bars.histogram)
    exponent = get_format(bars.dtype).min_exponent
    for line in lines:
        # Judged by the dtype of the bars: this is what it would lose without the scale.
        counts = line.histogram
        text += [
            f"line: {line.kind} without the scale of {bars.loss_scale:g},",
            f"{percent(counts.share(counts.below(exponent)))} below 2^{exponent} and not zero",
        ]
    return "\n".join(text)


def _shares(counts: Histogram) -> list[str]:
    zero, subnormal, infinite, nan = (
        percent(counts.share(count))
        for count in (counts.zero, counts.subnormal, counts.infinite, counts.nan)
    )
    return [f"zero {zero}, subnormal {subnormal}", f"Inf {infinite}, NaN {nan}"]


def _frame(column: Sequence[Axes], drawn: Sequence[Sequence[Snapshot]]) -> None:
    """Sets what a column shares, and shades the regions inside its limits."""
    found = [e for pair in drawn for snapshot in pair for e in snapshot.histogram.binades]
    start, end = (min(found), max(found) + 1) if found else _EMPTY_AXIS
    margin = max(1, (end - start) // 20)
    start, end = start - margin, end + margin
    highest = 0.0
    for pair in drawn:
        for snapshot in pair:
            counts = snapshot.histogram
            highest = max([highest, *(counts.share(n) for n in counts.binades.values())])
    top = _HEADROOM * highest or 1.0
    for axes, pair in zip(column, drawn, strict=True):
        axes.set_xlim(start, end)
        axes.set_ylim(0, top)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.tick_params(labelsize=_SMALL, labelbottom=True, length=2)
        if pair:
            _shade(axes, get_format(pair[0].dtype), start, end)


def _shade(axes: Axes, form: FloatFormat, start: float, end: float) -> None:
    for region in regions(form):
        left, right = max(region.start, start), min(region.end, end)
        if left >= right:
            continue
        shade = _SHADES[region.label]
        axes.axvspan(left, right, color=shade.colour, linewidth=0, zorder=1, label=region.label)
        share = (right - left) / (end - start)
        turned = shade.upright and _TURNED_WIDTH <= share < shade.width
        if turned or share >= shade.width:
            axes.text(
                (left + right) / 2,
                0.97,
                shade.text.replace("\n", " ") if turned else shade.text,
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="top",
                rotation="vertical" if turned else "horizontal",
                fontsize=_SMALL,
                linespacing=1.0,
                zorder=5,
            )
