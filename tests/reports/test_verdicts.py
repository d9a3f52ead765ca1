import dataclasses

import pytest

from cnnprec.reports.verdicts import verdicts, verdicts_markdown
from cnnprec.verdicts.comparability import Difference, Part
from cnnprec.verdicts.estimate import Estimate
from cnnprec.verdicts.verdict import PRECISION_METRICS, Comparison, Judgement, Metric, Verdict

COMPARISON = Comparison(
    judgements=(
        Judgement(
            Metric.SPEED,
            "half",
            Verdict.FAIL,
            "CPU time grew",
            Estimate(1.3, 1.2, 1.4, 0.001, 0.15, 7),
            "CPU time",
        ),
        Judgement(Metric.OUTCOME, "half", Verdict.PASS, "diverged, as before"),
        Judgement(Metric.NUMERICS, "single", Verdict.PASS, "other bits", notice=True),
        Judgement(Metric.SPEED, "single", Verdict.INCONCLUSIVE, "5 sessions needed"),
        Judgement(Metric.COMPLETENESS, "", Verdict.PASS, "nothing missing"),
    ),
    changed=(Difference(Part.STACK, "tensorflow", "2.20.0", "2.21.0"),),
    basis="7 saved sessions",
)


REASON = "half speed: CPU time grew"


def test_verdicts_show_sizes_reasons_what_changed_and_what_to_do():
    assert verdicts(COMPARISON) == [
        "compared with 7 saved sessions; what changed in the stack:",
        "  tensorflow: 2.20.0 -> 2.21.0",
        "",
        "NOTICE single numerics: other bits",
        "INCONCLUSIVE single speed: 5 sessions needed",
        "FAIL half speed: CPU time grew",
        "",
        "precision  what      ratio     95 % bounds  detectable  sessions       verdict",
        "single     speed         -               -           -         -  INCONCLUSIVE",
        "half       CPU time  1.300  1.200 to 1.400        +15%         7          FAIL",
        "",
        "verdict: FAIL, ROLL BACK",
        f"reason:  {REASON}",
        "next:    cnnprec ab   (tells slower software from a slower machine)",
    ]


@pytest.mark.parametrize(("width", "missing"), [(80, ["sessions"]), (100, []), (120, [])])
def test_table_fits_the_terminal(width, missing):
    estimate = Estimate(1.3, 1.2, 1.4, 0.001, 0.15, 7)
    what = "time per step of all"
    judgement = Judgement(Metric.SPEED, "bfloat16_stable", Verdict.INCONCLUSIVE, "it " * 60)
    wide = dataclasses.replace(judgement, estimate=estimate, quantity=what)
    whole = verdicts(Comparison((wide,), (), "7 saved sessions"))
    lines = verdicts(Comparison((wide,), (), "7 saved sessions"), width)
    assert max(map(len, lines)) <= width
    heading = next(line for line in lines if line.startswith("precision"))
    assert [name for name in ("ratio", "sessions") if name not in heading] == missing
    assert (heading in whole) is not bool(missing)


def test_markdown_says_the_same():
    text = "\n".join(verdicts_markdown(COMPARISON))
    assert text.startswith("**FAIL, ROLL BACK**, compared with 7 saved sessions; what changed")
    assert "* tensorflow: 2.20.0 -> 2.21.0" in text
    assert "| half | CPU time | 1.300 | 1.200 to 1.400 | +15% | 7 | FAIL |" in text
    assert "* FAIL half speed: CPU time grew" in text
    columns = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert columns == {8}


def test_quiet_comparison_says_that_nothing_changed():
    calm = Comparison(
        tuple(Judgement(metric, "single", Verdict.PASS, "fine") for metric in PRECISION_METRICS),
        (),
        "it",
    )
    assert verdicts(calm)[0] == "compared with it; nothing changed in the stack"
    assert verdicts(calm)[-3] == "verdict: PASS, ROLL OUT"
