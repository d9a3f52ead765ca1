"""The verdict of a whole comparison, and the limits it is given by."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnprec.verdicts.verdict import Comparison, Judgement, Limits, Metric, Verdict, parse_share


@given(st.lists(st.sampled_from(Verdict), min_size=1))
def test_verdict_of_the_whole_passes_only_if_all_pass(found):
    whole = Comparison(
        tuple(Judgement(Metric.SPEED, "single", v, "") for v in found), (), ""
    ).verdict
    assert (whole is Verdict.PASS) == (set(found) == {Verdict.PASS})
    assert Verdict.FAIL not in found or whole is Verdict.FAIL


@pytest.mark.parametrize(
    ("text", "value"), [("3%", 0.03), ("0.03", 0.03), (" 15 %", 0.15), ("0", 0)]
)
def test_shares_are_read(text, value):
    assert parse_share(text) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize("text", ["", "x", "-1%", "nan", "inf", "3%%", "3%x", "1001%"])
def test_what_is_no_share_is_refused_by_its_text(text):
    with pytest.raises(ValueError, match="is not a share"):
        parse_share(text)


@pytest.mark.parametrize(("tolerance", "margin"), [(0.1, 0.1), (-0.1, 0.1), (0, math.inf)])
def test_limits_that_contradict_each_other_are_refused(tolerance, margin):
    with pytest.raises(ValueError, match="tolerance"):
        Limits(tolerance, margin)
