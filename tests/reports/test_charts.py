"""Charts: what is in their SVG, and the same figures in their tables."""

import math
import re

import pytest

pytest.importorskip("matplotlib")

from cnnprec.reports.charts import Series, chart

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


def test_svg_has_the_page_s_colours_and_ids_of_its_own():
    first = chart("First", "x", "y", [LINE])
    other = chart("Other", "x", "y", [LINE])
    assert not re.search(r"#0000[0-9a-f]{2}\b", first.svg)
    assert "var(--c1)" in first.svg
    assert "var(--c3)" in first.svg
    ids = [set(re.findall(r'\bid="([^"]+)"', made.svg)) for made in (first, other)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', first.svg)) <= ids[0]


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
