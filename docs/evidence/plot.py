"""The plot of README.md: every rule's alarms and power, and the power of cnnprec."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from recording import Recording
from rules import WAYS, rate
from trials import BASELINES, ONE, SLOWDOWNS, alarms_drawn, calibration, power

from cnnprec.verdicts.estimate import POWER

_COLOURS = dict(zip(BASELINES, ("#e08214", "#1b7837"), strict=True))


def save(recording: Recording, path: Path) -> None:
    """Draws the plot as a PNG without date and version, so that equal plots are equal files."""
    figure = Figure(figsize=(12.5, 6), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_rules(left, recording)
    _draw_power(right, recording)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _draw_rules(axes: Axes, recording: Recording) -> None:
    """A line for each rule and baseline, from its false alarms to what it finds."""
    rated = [(rule.name, count, rate(recording, rule, count)) for rule, count in WAYS]
    rows = [(name.replace("`", ""), count, r.drawn, r.power[0.10]) for name, count, r in rated]
    for count in BASELINES:
        share = alarms_drawn(recording, count).share
        rows.append(("cnnprec", count, share, power(recording, count)[ONE][0.10]))
    names, counts, alarms, found = zip(*rows, strict=True)
    alarms, found, places = np.array(alarms) * 100, np.array(found) * 100, np.arange(len(rows))
    axes.axhspan(len(WAYS) - 0.5, len(rows) - 0.5, color="#f3ead2", zorder=0)
    axes.hlines(places, alarms, found, color="#bbbbbb", zorder=1)
    ring = {"s": 80, "facecolor": "white", "edgecolor": "#0072b2", "linewidth": 2}
    axes.scatter(found, places, **ring, label="+10 % in one precision found")
    axes.scatter(alarms, places, s=45, color="#c1272d", marker="x", label="false alarms")
    axes.axvline(5, color="#c1272d", linestyle=":", linewidth=1)
    against = ("latest session" if count == 1 else f"{count} sessions" for count in counts)
    axes.set_yticks(places, [f"{name}, {text}" for name, text in zip(names, against, strict=True)])
    axes.invert_yaxis()
    axes.set(xlim=(-2, 102), xlabel="% of the draws; dotted: 5 %", title="Rules")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2, frameon=False)
    axes.grid(alpha=0.3, axis="x")


def _draw_power(axes: Axes, recording: Recording) -> None:
    """Power by slowdown, and stars at the effects that are stated."""
    percents = [slowdown * 100 for slowdown in SLOWDOWNS]
    for count, colour in _COLOURS.items():
        rates = [power(recording, count)[ONE][s] * 100 for s in SLOWDOWNS]
        axes.plot(percents, rates, marker="o", color=colour, label=f"{count} baseline sessions")
        effects, found = zip(*calibration(recording, count).values(), strict=True)
        effect, rate_found = float(np.median(effects)) * 100, float(np.mean(found)) * 100
        star = {"s": 200, "marker": "*", "color": colour, "edgecolor": "black", "zorder": 3}
        axes.scatter(effect, rate_found, **star, label=f"they state +{effect:.0f} %")
    axes.axhline(POWER * 100, color="black", linestyle=":", linewidth=1)
    axes.set_xscale("log")
    axes.set_xticks(percents, [f"{percent:.0f}" for percent in percents])
    axes.set_xticks([], minor=True)
    axes.set(
        ylim=(-2, 102),
        xlabel="slowdown of one precision, %",
        title="What cnnprec finds; stars: what it states",
    )
    axes.set_ylabel(f"% found; dotted: {POWER * 100:.0f} %")
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)
