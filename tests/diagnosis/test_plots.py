"""The figure of binades shows the numbers it was given."""

import dataclasses
import importlib
import itertools
import math
import subprocess
import sys

import numpy as np
import pytest

from cnnprec.diagnosis.histograms import Kind, Snapshot
from cnnprec.precision.formats import FORMATS, get_format

pytest.importorskip("matplotlib", reason="needs the extra cnnprec[plot]")

from matplotlib.colors import to_hex
from matplotlib.patches import StepPatch

from cnnprec.diagnosis.plots import COLUMNS, binades, borders
from cnnprec.precision.precisions import PRECISIONS

KINDS = (Kind.GRADIENTS, Kind.SECOND_MOMENT, Kind.WEIGHTS, Kind.ACTIVATIONS)
# Two zeros, a float16 subnormal, six normal numbers, an Inf: tenths of ten.
VALUES = np.array([0, -0.0, 2.0**-20, 0.5, 0.5, -0.75, 1, 2, 4, np.inf])
SHARES = {-20: 0.1, -1: 0.3, 0: 0.1, 1: 0.1, 2: 0.1}


def snapshots_of(name: str, values=VALUES) -> list[Snapshot]:
    """All kinds that are drawn, each with these values."""
    precision = PRECISIONS[name]
    found = [Snapshot(precision, k, precision.variable_dtype, values.copy()) for k in KINDS]
    if not precision.loss_scaling:
        return found
    scaled = values * 2.0**15
    return [
        *(dataclasses.replace(s, values=s.values.copy(), loss_scale=2.0**15) for s in found),
        Snapshot(
            precision, Kind.SCALED_GRADIENTS, precision.compute_dtype, scaled, loss_scale=2.0**15
        ),
    ]


def axes_of(figure, row: int, column: int):
    return figure.axes[row * len(COLUMNS) + column]


def bars(axes) -> dict[int, float]:
    (container,) = axes.containers
    assert all(bar.get_width() == 1 for bar in container)
    return {round(bar.get_x()): bar.get_height() for bar in container}


def line(axes) -> dict[int, float]:
    (stairs,) = (patch for patch in axes.patches if isinstance(patch, StepPatch))
    values, edges, _ = stairs.get_data()
    return {int(e): v for e, v in zip(edges, values, strict=False) if v}


# The background of each region, by what becomes of a number there.
COLOURS = {"#f0be55": "zero", "#faf4b0": "subnormal", "#ffffff": "normal", "#e3b5cd": "Inf"}


def shaded(axes) -> dict[str, tuple[float, float]]:
    spans = {}
    for patch in axes.patches:
        name = COLOURS.get(to_hex(patch.get_facecolor()))
        if name is not None:
            box = patch.get_extents().transformed(axes.transData.inverted())
            if box.width > 1e-6:
                spans[name] = (round(box.x0, 6), round(box.x1, 6))
    return spans


def title(axes) -> list[str]:
    return axes.get_title(loc="left").splitlines()


def test_figure_has_a_row_per_precision_and_a_column_per_panel():
    figure = binades([*snapshots_of("half"), *snapshots_of("single")])
    heads = [title(axes)[0] for axes in figure.axes]
    assert heads == [
        f"{name}: {kind}, {dtype}"
        for name, dtype in (("half", "float16"), ("single", "float32"))
        for kind in ("gradients", "second moment", "weights", "activations")
    ]


def test_bars_are_the_shares_of_the_data():
    figure = binades(snapshots_of("half"))
    for axes in figure.axes:
        assert bars(axes) == SHARES


def test_shares_of_special_values_stand_above_the_panel():
    axes = axes_of(binades(snapshots_of("half")), 0, 0)
    assert title(axes)[1:] == ["zero 20.0%, subnormal 10.0%", "Inf 10.0%, NaN 0%"]


def test_a_planted_change_of_the_data_changes_the_plot():
    planted = VALUES.copy()
    planted[[3, 9]] = [2.0**-18, np.nan]
    axes = axes_of(binades(snapshots_of("half", planted)), 0, 0)
    assert bars(axes) == {**SHARES, -18: 0.1, -1: 0.2}
    assert title(axes)[1:] == ["zero 20.0%, subnormal 20.0%", "Inf 0%, NaN 10.0%"]


def test_only_the_panel_of_the_changed_kind_changes():
    given = snapshots_of("half")
    changed = [
        dataclasses.replace(s, values=np.full(4, 8.0)) if s.kind is Kind.WEIGHTS else s
        for s in given
    ]
    found = [bars(axes) for axes in binades(changed).axes]
    assert found == [SHARES, SHARES, {3: 1.0}, SHARES]


def test_loss_scaling_shows_scaled_gradients_as_bars_and_unscaled_ones_as_a_line():
    axes = axes_of(binades(snapshots_of("mixed_half")), 0, 0)
    assert bars(axes) == {e + 15: share for e, share in SHARES.items()}
    assert line(axes) == SHARES
    assert title(axes) == [
        "mixed_half: scaled gradients, float16",
        "zero 20.0%, subnormal 0%",
        "Inf 10.0%, NaN 0%",
        "line: gradients without the scale of 32768,",
        "10.0% below 2^-14 and not zero",
    ]


def test_without_loss_scaling_there_is_no_line():
    axes = axes_of(binades(snapshots_of("half")), 0, 0)
    assert not any(isinstance(patch, StepPatch) for patch in axes.patches)


def test_skipped_step_is_named():
    given = [dataclasses.replace(s, skipped=True) for s in snapshots_of("mixed_half")]
    assert "loss scaling skipped the step" in title(axes_of(binades(given), 0, 0))
    assert "loss scaling skipped the step" not in title(
        axes_of(binades(snapshots_of("mixed_half")), 0, 0)
    )


# Literal: float16's 2**-24 and 2**-14, the largest number just under 2**16.
def test_regions_of_float16_are_shaded_to_the_limits_of_the_axis():
    wide = np.array([2.0**-40, 2.0**20])
    axes = axes_of(binades(snapshots_of("half", wide)), 0, 0)
    start, end = axes.get_xlim()
    assert start < -40
    assert end > 21
    assert shaded(axes) == {
        "zero": (start, -25),
        "subnormal": (-25, -14),
        "normal": (-14, 16),
        "Inf": (16, end),
    }


def test_legend_names_the_colour_of_every_region():
    (legend,) = binades(snapshots_of("half")).legends
    colours = [to_hex(patch.get_facecolor()) for patch in legend.get_patches()]
    assert [COLOURS[colour] for colour in colours] == ["zero", "subnormal", "normal", "Inf"]
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["becomes zero", "subnormal", "normal", "becomes Inf"]


def test_regions_follow_the_dtype_of_the_panel():
    wide = np.array([2.0**-40, 2.0**20])
    axes = axes_of(binades(snapshots_of("single", wide)), 0, 0)
    assert list(shaded(axes)) == ["normal"]


@pytest.mark.parametrize("dtype", sorted(FORMATS))
def test_borders_rise_and_leave_nothing_out(dtype):
    found = borders(get_format(dtype))
    assert (found[0], found[-1]) == (-math.inf, math.inf)
    assert list(found) == sorted(set(found))


@pytest.mark.parametrize("dtype", sorted(FORMATS))
def test_first_border_is_the_largest_power_that_rounds_to_zero(dtype):
    form = get_format(dtype)
    tie = np.longdouble(2) ** borders(form)[1]
    above = tie * (1 + np.longdouble(2) ** -10)
    # NumPy rounds once from float64; what float64 itself cannot hold comes from longdouble.
    wide = np.longdouble if dtype == "float64" else np.float64
    rounded = np.array([tie, above]).astype(wide).astype(form.numpy_dtype).astype(np.float64)
    assert rounded.tolist() == [0.0, form.smallest_subnormal]


def test_columns_share_their_axes_so_that_rows_compare():
    figure = binades([*snapshots_of("half"), *snapshots_of("single", np.array([2.0**-60, 1.0]))])
    upper, lower = (axes_of(figure, row, 0) for row in (0, 1))
    assert upper.get_xlim() == lower.get_xlim()
    assert upper.get_ylim() == lower.get_ylim()
    assert upper.get_xlim()[0] < -60
    # Half of all elements in one binade, and room above it.
    assert upper.get_ylim()[1] > 0.5


@pytest.mark.parametrize("values", [np.zeros(3), np.array([np.nan, np.inf]), np.zeros(0)])
def test_panel_without_a_number_to_draw_has_no_bar(values):
    axes = axes_of(binades(snapshots_of("half", values)), 0, 0)
    assert bars(axes) == {}
    assert "subnormal 0%" in title(axes)[1]


def test_no_text_covers_another():
    # The longest names, the panel with the most lines, and regions of every width.
    names = ("bfloat16_stable", "half_stable", "mixed_half")
    wide = np.array([2.0**-40, 2.0**-2, 2.0**4])
    figure = binades([s for name in names for s in snapshots_of(name, wide)])
    figure.draw_without_rendering()
    boxes = []
    for axes in figure.axes:
        # Matplotlib has no public access to the title at the left.
        labels = [axes._left_title]
        start, end = axes.get_xlim()
        # Ticks outside the limits have labels that are never drawn.
        ticks = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        labels += [label for place, label in ticks if start <= place <= end]
        boxes += [(label.get_text(), label.get_window_extent()) for label in labels]
    assert len(boxes) > 3 * len(figure.axes)
    for (one, first), (other, second) in itertools.combinations(boxes, 2):
        assert not first.overlaps(second), (one, other)


def test_drawing_leaves_pyplot_alone():
    code = (
        "import sys, numpy, cnnprec.diagnosis.plots as p; "
        "from cnnprec.diagnosis.histograms import *; "
        "from cnnprec.precision.precisions import PRECISIONS; "
        "s = [Snapshot(PRECISIONS['half'], k, 'float16', numpy.ones(2), 2.0) for k in Kind]; "
        "p.binades(s).draw_without_rendering(); "
        "print('matplotlib.pyplot' in sys.modules, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_importing_without_matplotlib_names_the_extra(monkeypatch):
    # None in sys.modules is how Python marks a module that cannot be imported.
    for module in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "cnnprec.diagnosis.plots")
    with pytest.raises(ImportError, match=r"pip install 'cnnprec\[plot\]'"):
        importlib.import_module("cnnprec.diagnosis.plots")


def test_panels_draw_every_kind_once():
    drawn = list(itertools.chain(*COLUMNS))
    assert len(drawn) == len(set(drawn))
