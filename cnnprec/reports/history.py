"""A finished history as text and as a figure. Nothing is decided here."""

import math
from typing import TYPE_CHECKING

import numpy as np

from cnnprec.reports.baseline import minute
from cnnprec.text import aligned, count_of, printable
from cnnprec.verdicts.baseline import stack_changes
from cnnprec.verdicts.history import FEWEST, History

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def table(found: History) -> list[str]:
    """The sessions, a row each: times over their median, ``<`` where another level begins."""
    rows = [("saved (UTC)", "session", *(f"{name}  " for name in found.times))]
    for place, session in enumerate(found.sessions):
        cells = (
            f"{math.exp(times[place]):.3f}{' <' if place in found.starts[name][1:] else '  '}"
            for name, times in found.times.items()
        )
        rows.append((minute(session), printable(session.path.stem), *cells))
    return aligned(rows)


def sentences(found: History) -> list[str]:
    """Since when each precision has its level, and which sessions were left out."""
    return [
        *(_sentence(found, name) for name in found.times),
        *(f"left out {count_of(n, 'session')}: {reason}" for reason, n in found.left_out.items()),
    ]


def summary(found: History) -> list[str]:
    """A line on all precisions; none where the sessions are too few to say anything."""
    changed = [_sentence(found, name) for name, starts in found.starts.items() if starts[1:]]
    what = "; ".join(changed) or f"no change in {len(found.sessions)} saved sessions"
    return [f"history: {what}"] if len(found.sessions) >= FEWEST else []


def _sentence(found: History, name: str) -> str:
    sessions = count_of(len(found.sessions), "session")
    if len(found.sessions) < FEWEST:
        return f"{name}: {sessions}; at least {FEWEST} are needed to look for a change"
    *_, start = found.starts[name]
    if not start:
        return f"{name}: no change in {sessions}"
    before, level = found.levels(name)[-2:]
    percent = math.expm1(level - before) * 100
    earlier, session = found.sessions[start - 1 : start + 1]
    stack = ", ".join(map(str, stack_changes(earlier, session.records))) or "same software"
    return (
        f"{name}: {abs(percent):.1f} % {'slower' if percent > 0 else 'faster'} since "
        f"{minute(session)} ({printable(session.path.stem)}; {stack})"
    )


def plot(found: History) -> "Figure":
    """A panel for each precision: sessions, levels and changes; ImportError without Matplotlib."""
    from matplotlib.figure import Figure

    names, last = list(found.times), len(found.sessions) - 1
    figure = Figure(figsize=(8, 2 * len(names) + 1))
    figure.subplots_adjust(0.12, 0.8 / figure.get_figheight(), 0.97, 0.97, hspace=0.25)
    axes = figure.subplots(len(names), sharex=True, squeeze=False)[:, 0]
    for axis, name in zip(axes, names, strict=True):
        edges = [start - 0.5 for start in (*found.starts[name], last + 1)]
        axis.plot(np.exp(found.times[name]), ".", color="grey", markersize=3)
        levels = np.exp(found.levels(name))
        axis.stairs(levels, edges, baseline=None, linewidth=2, zorder=3)
        axis.set_title(_sentence(found, name), fontsize=9, loc="left")
    ticks = sorted({round(last * step / 5) for step in range(6)})
    axes[-1].set_xticks(ticks, [minute(found.sessions[t]).replace(" ", "\n") for t in ticks])
    figure.supylabel("time over its median")
    return figure
