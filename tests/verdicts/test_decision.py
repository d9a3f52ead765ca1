import dataclasses

import pytest

from cnnprec.verdicts.decision import attribution, decide
from cnnprec.verdicts.estimate import Estimate
from cnnprec.verdicts.verdict import Comparison, Judgement, Metric, Verdict


def compared(*verdicts: Verdict, paired: bool = False) -> Comparison:
    judgements = [
        Judgement(Metric.SPEED, f"p{i}", v, "why", Estimate(1.0 + i, 1, 9, 0, 0.1, 7), "CPU time")
        for i, v in enumerate(verdicts)
    ]
    return Comparison(tuple(judgements), (), "7 saved sessions", paired=paired)


@pytest.mark.parametrize(
    ("verdict", "action", "command"),
    [
        (Verdict.PASS, "ROLL OUT", "--benchmark-save=baseline   (puts"),
        (Verdict.FAIL, "ROLL BACK", "cnnprec ab   ("),
        (Verdict.INCONCLUSIVE, "MEASURE MORE", "--benchmark-save=baseline   (a few more times"),
        (Verdict.NO_BASELINE, "MEASURE MORE", "--benchmark-save=baseline   (five times"),
        (Verdict.INCOMPARABLE, "MEASURE MORE", "--benchmark-save=baseline   (five times"),
        (Verdict.INVALID, "MEASURE MORE", "measured as now, and nothing failing"),
    ],
)
def test_every_verdict_is_an_action_and_a_command(verdict, action, command):
    found = decide(compared(verdict))
    assert (found.verdict, found.action) == (verdict, action)
    assert command in found.next


def test_reason_is_the_largest_growth_of_those_that_decide():
    found = decide(compared(Verdict.FAIL, Verdict.FAIL, Verdict.PASS))
    assert found.reason == "p1 speed: why (and 1 more)"


def test_what_has_no_size_is_the_reason_before_a_growth():
    comparison = compared(Verdict.FAIL)
    outcome = Judgement(Metric.OUTCOME, "", Verdict.FAIL, "seed 12: trained -> diverged")
    both = Comparison((*comparison.judgements, outcome), (), "it")
    assert decide(both).reason == "session outcome: seed 12: trained -> diverged (and 1 more)"


def test_pass_counts_what_was_judged_and_nothing_at_all_is_no_pass():
    assert decide(compared(Verdict.PASS, Verdict.PASS)).reason.startswith("none of the 2 verdicts")
    assert decide(compared()).action == "MEASURE MORE"
    assert decide(compared()).reason == "nothing was compared"


def test_pairs_need_no_further_command_once_they_are_decided():
    assert decide(compared(Verdict.FAIL, paired=True)).next == "nothing more"
    assert "--looks" in decide(compared(Verdict.INCONCLUSIVE, paired=True)).next


def with_ratios(ratios: dict[str, float], *failed: str) -> Comparison:
    judgements = [
        Judgement(
            Metric.SPEED,
            name,
            Verdict.FAIL if name in failed else Verdict.PASS,
            "why",
            Estimate(ratio, ratio, ratio, 0, 0.1, 7),
            "time per step",
        )
        for name, ratio in ratios.items()
    ]
    return Comparison(tuple(judgements), (), "7 saved sessions")


@pytest.mark.parametrize(
    ("ratios", "failed", "said"),
    [
        (
            {"single": 0.99, "half": 1.21, "double": 1.02},
            ["half"],
            "half alone became slower; the others changed by -1% to +2%",
        ),
        (
            {"single": 1.0, "half": 1.3, "mixed_half": 1.2},
            ["half", "mixed_half"],
            "half and mixed_half alone became slower; the others changed by +0%",
        ),
        (
            {"single": 1.02, "half": 1.01, "double": 1.03, "": 1.2},
            [""],
            "everything became slower, by 20% in the mean",
        ),
        (
            {"single": 1.02, "half": 1.1, "double": 1.03, "": 1.2},
            ["half", ""],
            "everything became slower, by 20% in the mean",
        ),
        (
            {"single": 1.02, "half": 1.9, "double": 1.0, "": 1.24},
            ["half", ""],
            "half alone became slower; the others changed by +0% to +2%",
        ),
        ({"single": 1.0, "half": 1.2}, [], None),
        ({"half": 1.2}, ["half"], None),
    ],
)
def test_slowdown_is_attributed_to_some_precisions_alone_or_to_everything(ratios, failed, said):
    assert attribution(with_ratios(ratios, *failed)) == said


@pytest.mark.parametrize("paired", [False, True])
def test_accuracy_that_is_not_decided_needs_more_runs(paired):
    speed = compared(Verdict.INCONCLUSIVE, paired=paired)
    accuracy = Judgement(Metric.ACCURACY, "half", Verdict.INCONCLUSIVE, "why")
    both = dataclasses.replace(speed, judgements=(*speed.judgements, accuracy))
    assert "--runs 10" in decide(both).next
    assert "--runs 10" not in decide(speed).next
