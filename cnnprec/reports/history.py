"""A finished history as text and as a figure. Nothing is decided here."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from cnnprec.reports.baseline import minute
from cnnprec.text import aligned, count_of
from cnnprec.verdicts.comparability import Part, differences
from cnnprec.verdicts.history import FEWEST, History

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEVEL, _CHANGE = "#0072B2", "#D55E00"


def table(history: History) -> list[str]:
    """The sessions, a row each: times over their median, ``<`` where another level begins."""
    rows = [("saved (UTC)", "session", *history.times)]
    for place, session in enumerate(history.sessions):
        cells = (
            f"{math.exp(times[place]):.3f}{' <' if place in history.starts[name][1:] else '  '}"
            for name, times in history.times.items()
        )
        rows.append((minute(session), session.path.stem, *cells))
    return [
        *aligned(rows),
        "",
        f"{history.quantity} over its median, given the calibrators where there are any; "
        "< begins another level",
    ]


def sentences(history: History) -> list[str]:
    """Since when each precision has its level, and which sessions were left out."""
    lines = [sentence(history, name) for name in history.times]
    for reason, group in itertools.groupby(history.left_out, key=lambda pair: pair[1]):
        lines.append(f"left out {count_of(len(list(group)), 'session')}: {reason}")
    return lines


def sentence(history: History, name: str) -> str:
    """Since when a precision has its level, and what changed in the stack there."""
    sessions = count_of(len(history.sessions), "session")
    if len(history.sessions) < FEWEST:
        return f"{name}: {sessions}; at least {FEWEST} are needed to look for a change"
    *_, start = history.starts[name]
    if not start:
        return f"{name}: no change in {sessions}"
    before, level = history.levels(name)[-2:]
    percent = math.expm1(level - before) * 100
    session = history.sessions[start]
    earlier = history.sessions[start - 1].records[name]
    stack = [
        str(difference)
        for difference in differences(earlier, session.records[name])
        if difference.part is Part.STACK
    ]
    return (
        f"{name}: {abs(percent):.1f} % {'slower' if percent > 0 else 'faster'} since "
        f"{minute(session)} ({session.path.stem}; {', '.join(stack) or 'same stack'})"
    )


def plot(history: History) -> Figure:
    """A panel for each precision: sessions, levels and changes.

    Raises:
        ImportError: Matplotlib, the extra ``cnnprec[plot]``, is not installed.
    """
    from matplotlib.figure import Figure

    names, count = list(history.times), len(history.sessions)
    figure = Figure(figsize=(8, 2 * len(names) + 1), layout="constrained")
    axes = figure.subplots(len(names), sharex=True, squeeze=False)[:, 0]
    for axis, name in zip(axes, names, strict=True):
        percents = [100 * math.expm1(time) for time in history.times[name]]
        axis.plot(percents, ".", color="grey", markersize=4)
        axis.set_title(sentence(history, name), fontsize=9, loc="left")
        starts = history.starts[name]
        levels = [100 * math.expm1(level) for level in history.levels(name)]
        axis.stairs(levels, [*starts, count], baseline=None, color=_LEVEL, linewidth=2)
        for start in starts[1:]:
            axis.axvline(start, color=_CHANGE, linestyle="--", linewidth=1)
    ticks = sorted({round((count - 1) * step / 5) for step in range(6)})
    axes[-1].set_xticks(ticks, [minute(history.sessions[t]).replace(" ", "\n") for t in ticks])
    figure.supylabel(f"{history.quantity}, % from the median")
    return figure
