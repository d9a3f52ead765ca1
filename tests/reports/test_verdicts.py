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


def test_verdicts_show_sizes_reasons_and_what_changed():
    assert verdicts(COMPARISON) == [
        "compared with 7 saved sessions; what changed in the stack:",
        "  tensorflow: 2.20.0 -> 2.21.0",
        "",
        "precision  what      ratio     95 % bounds  detectable  sessions       verdict",
        "single     speed         -               -           -         -  INCONCLUSIVE",
        "half       CPU time  1.300  1.200 to 1.400        +15%         7          FAIL",
        "",
        "NOTICE single numerics: other bits",
        "INCONCLUSIVE single speed: 5 sessions needed",
        "FAIL half speed: CPU time grew",
        "A machine that became slower since the sessions were saved looks the same. Measuring by "
        "turns tells the two apart (cnnprec ab), and so do sessions saved over days instead of in "
        "one go.",
        "verdict: FAIL",
    ]


def test_slowdown_that_pairs_show_is_not_laid_on_the_machine():
    estimate = Estimate(1.3, 1.2, 1.4, 0.001, 0.15, 7, check=0.01)
    judgement = Judgement(Metric.SPEED, "half", Verdict.FAIL, "it grew", estimate, "CPU time")
    lines = verdicts(Comparison((judgement,), (), "7 pairs of sessions", paired=True))
    assert lines[-2:] == ["FAIL half speed: it grew", "verdict: FAIL"]


def test_markdown_says_the_same():
    text = "\n".join(verdicts_markdown(COMPARISON))
    assert text.startswith("**FAIL**, compared with 7 saved sessions; what changed in the stack:")
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
    assert verdicts(calm)[-1] == "verdict: PASS"
