"""A scaling study as tables and as a plot."""

import re
import xml.etree.ElementTree as ET

import pytest

from cnnprec.precision.precisions import PRECISIONS
from cnnprec.records.scaling import Point, Study
from cnnprec.reports.figures import colour_of
from cnnprec.reports.scaling import plot, table
from tests.support.studies import point


def test_table_of_all_precisions_fits_80_columns():
    names = list(PRECISIONS)
    study = Study({}, tuple(point(name, 8, 4096, 99.0, 10**11) for name in names))
    lines = table(study, names)
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[1:10]] == names


def test_point_without_times_is_told_with_its_reason():
    reason = "too \x1b[2Jlarge"
    missing = [Point("double", 2, batch, missing=reason) for batch in (32, 64)]
    lines = table(Study({}, (point(width=2), *missing)), ["single", "double"])
    assert lines[1].split()[0] == "single"
    assert lines[2].split() == ["double", "2", "32", "does", "not", "fit", "-", "-", "-"]
    for batch in (32, 64):
        assert rf"double at width 2, batch {batch}: too \x1b[2Jlarge" in lines


def test_precisions_that_were_not_asked_for_are_not_shown():
    text = "\n".join(table(Study({}, (point(), point("x\x1b"))), ["single"]))
    assert "x" not in text.split("faster")[0].replace("us/image", "")


def test_plot_has_a_chart_for_each_width_and_a_line_for_each_precision():
    points = [point(name, w, b) for name in ("single", "half") for w in (1, 4) for b in (64, 32)]
    drawn = plot(Study({}, (*points, Point("half", 4, 128, missing="x"))), ["single", "half"])
    assert re.findall(r">(width \d)</text>", drawn) == ["width 1", "width 4"]
    for name in ("single", "half"):
        assert drawn.count(f">{name}</text>") == 2
        # In the chart and in its legend; a batch without times would be a third point.
        lines = re.findall(rf'd="M([^"]+)"[^>]*var\(--c{colour_of(name)}\)', drawn)
        assert [line.count("L") for line in lines] == [1, 1, 1, 1]


def test_batches_that_double_stand_at_equal_distances():
    drawn = plot(Study({}, tuple(point(batch=batch) for batch in (32, 64, 128))), ["single"])
    path = re.search(rf'd="M([^"]+)"[^>]*var\(--c{colour_of("single")}\)', drawn)[1]
    x, y, z = (float(corner.split()[0]) for corner in path.split("L"))
    assert y - x == pytest.approx(z - y, abs=0.2)  # of numbers with one digit


def test_plot_of_nothing_can_be_written():
    ET.fromstring(plot(Study({}), ["single"]))  # noqa: S314
