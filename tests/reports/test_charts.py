"""Charts: what is in their SVG, and the same figures in their tables."""

import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from cnnprec.precision.precisions import KNOWN, PRECISIONS, XLA
from cnnprec.reports import svg
from cnnprec.reports.charts import Ridge, Series, chart, ridges
from cnnprec.reports.figures import colour_of
from cnnprec.reports.svg import file

PALETTE = Path(svg.__file__).with_name("palette.css")

LINE = Series("single", 0, [(0, 1.0), (1, 2.0)])
BAR = Series("", 0, [("double", 2.0, 1.5, 2.5), ("half", 0.5, 0.4, 0.6)])


def test_chart_without_points_is_none():
    assert chart("Title", "x", "y", []) is None
    assert chart("Title", "x", "y", [Series("single", 0, [])]) is None


def test_table_has_a_row_for_each_place_and_a_column_for_each_series():
    late = Series("half", 1, [(1, 0.123456), (2, math.nan)])
    made = chart("Title", "step", "loss", [LINE, late])
    assert made.table == [
        ("step", "single", "half"),
        ("0", "1", ""),
        ("1", "2", "0.1235"),
        ("2", "", "nan"),
    ]
    assert made.what == "loss over step"


def test_table_of_intervals_names_rows_and_bounds():
    made = chart("Title", "ratio", "", [BAR])
    assert made.table[1:] == [("double", "2 (1.5 to 2.5)"), ("half", "0.5 (0.4 to 0.6)")]
    assert ">double</text>" in made.svg


def test_svg_has_the_colours_of_its_page_alone():
    for made in (chart("Title", "x", "y", [LINE]), chart("Title", "x", "", [BAR])):
        assert "stroke:var(--c0)" in made.svg
        assert "stroke:var(--ink)" in made.svg
        assert not re.search("#[0-9a-f]{3}|rgb|id=", made.svg)


def places(svg: str, series: int) -> list[tuple[float, float]]:
    """The corners of the line of a series."""
    path = re.search(rf'd="M([^"]+)"[^>]*stroke:var\(--c{series}\)', svg)[1]
    return [tuple(map(float, corner.split())) for corner in path.split("L")]


def test_larger_values_stand_higher_and_later_ones_further_right():
    (x, y), (later, higher) = places(chart("Title", "x", "y", [LINE]).svg, 0)
    assert x < later
    assert higher < y


def test_steps_hold_their_value_until_the_next():
    steps = Series("scale", 2, [(0, 4.0), (5, 2.0), (9, 2.0)], "steps")
    corners = places(chart("Title", "x", "y", [steps]).svg, 2)
    assert len(corners) == 5
    assert corners[0][1] == corners[1][1] < corners[2][1]
    assert corners[1][0] == corners[2][0]


def test_an_interval_reaches_from_its_low_to_its_high_and_past_the_end_if_it_has_none():
    svg = chart("Title", "x", "", [BAR]).svg
    (low, _), (high, _) = places(svg, 0)
    assert low < high
    endless = Series("", 0, [("double", 2.0, 1.5, math.inf), *BAR.points[1:]])
    (same, _), (end, _) = places(chart("Title", "x", "", [endless]).svg, 0)
    assert end > same


def test_a_histogram_is_as_high_as_its_counts_and_its_axis_is_the_dtype_s():
    row = Ridge("half: 1.0% zero", 3, (1, 0, 4), -16, (-14, 16), (-24, 16), ("half", "1.0%"))
    made = ridges("Gradients", "exponent", [row], ("", "zero"))
    path = re.search(r'd="M([^"]+)Z" style="fill:var\(--c3\)', made.svg)[1]
    heights = [float(corner.split()[1]) for corner in path.split("L")]
    base = heights[0]
    drawn = [round(base - height, 1) for height in heights[1:-1:2]]
    assert drawn == [max(drawn) / 4, 0, max(drawn)]
    assert made.table == [("", "zero"), ("half", "1.0%")]
    assert ">half: 1.0% zero</text>" in made.svg
    widths = re.findall(r'stroke-width="(\d)"', made.svg)
    assert widths == ["1", "3"]
    assert ridges("Gradients", "x", [row._replace(counts=())], ("", "zero")) is None


def test_a_file_of_its_own_has_every_picture_below_its_title_and_the_colours():
    made = chart("Title", "x", "y", [LINE])
    text = file([("First <1>", made.svg), ("Second", made.svg)])
    tops = [float(top) for top in re.findall(r'<svg y="(\d+)"', text)]
    assert len(tops) == 2
    assert tops[0] < tops[1]
    assert text.startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    assert ">First &lt;1&gt;</text>" in text
    assert "--c0: #" in text
    ET.fromstring(text)  # noqa: S314


@pytest.mark.parametrize(
    ("values", "logarithmic"), [((1.0, 2.0), False), ((1.0, 200.0), True), ((-1.0, 200.0), False)]
)
def test_axis_is_logarithmic_where_values_span_a_factor_of_ten(values, logarithmic):
    made = chart("Title", "x", "y", [Series("single", 0, [*enumerate(values)])])
    assert (">100</text>" in made.svg) is (logarithmic or values[0] < 0)
    assert (">5</text>" in made.svg) is logarithmic


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, 1e-300, 1e300, -1e300])
def test_any_number_can_be_drawn(value):
    assert chart("Title", "x", "y", [Series("s", 0, [(0, value), (1, 1.0)])])
    assert chart("Title", "x", "y", [Series("s", 0, [(0, value)])])
    assert chart("Title", "x", "", [Series("s", 0, [("a", 1.0, 0.9, value), ("b", value, 0, 1)])])


@pytest.mark.parametrize("text", ["$\\frac", "<script>alert(1)</script>", "文", "-->", "a" * 200])
def test_names_are_text_and_nothing_else(text):
    made = chart("Title", "x", "", [Series(text, 0, [(text, 1.0, 0.9, 1.1)])])
    assert "<script" not in made.svg
    assert made.svg.count("<!--") == made.svg.count("-->")
    assert made.table[1][0] == text


def test_each_precision_has_a_colour_of_its_own_that_the_palette_knows():
    known = set(map(int, re.findall(r"--c(\d+):", PALETTE.read_text())))
    colours = {name: colour_of(name) for name in KNOWN}
    assert {*colours.values(), colour_of("of an older version")} <= known
    assert len({colours[name] for name in PRECISIONS}) == len(PRECISIONS)
    assert all(colours[name] != colours[name + XLA] for name in PRECISIONS)
