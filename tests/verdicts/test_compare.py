"""Whole comparisons, of records made by hand; nothing is measured here."""

import dataclasses

import pytest

from cnnprec.machine.gpu_state import GpuState
from cnnprec.verdicts.compare import compare, compare_pairs, due_judgements, fewest_pairs
from cnnprec.verdicts.statistics import LEVEL
from cnnprec.verdicts.verdict import Verdict
from tests.support.histories import QUIET, both, history, pairs, session, verdict, with_turns


def test_equal_session_passes_everything():
    comparison = compare(history(), session())
    assert [(j.metric, j.precision) for j in comparison.judgements] == due_judgements(
        ["single"], "cpu"
    )
    assert {j.verdict for j in comparison.judgements} == {Verdict.PASS}
    assert comparison.verdict is Verdict.PASS


STATE = GpuState((), 0, (), 50, 1900, 300.0)


@pytest.mark.parametrize(
    ("state", "metric", "expected", "named"),
    [
        ({"throttled": ("thermal",)}, "speed", Verdict.INCONCLUSIVE, "thermal"),
        ({"new_ecc_errors": 2}, "outcome", Verdict.FAIL, "6 uncorrected memory errors"),
        ({"xid_errors": (79,)}, "outcome", Verdict.FAIL, "Xid 79"),
        ({"pcie_lanes": (8, 16)}, "outcome", Verdict.FAIL, "8 of 16 lanes"),
        ({"repairs": ("row remapping failed",)}, "outcome", Verdict.FAIL, "row remapping failed"),
    ],
)
def test_hardware_in_trouble_is_seen(state, metric, expected, named):
    comparison = compare(history(), session(state=dataclasses.replace(STATE, **state)))
    judgement = comparison.of(metric, "single")
    assert judgement.verdict is expected
    assert named in judgement.reason
    assert verdict(compare(history(), session(state=STATE)), metric) is Verdict.PASS


@pytest.mark.parametrize(
    ("state", "named"),
    [
        ({"new_corrected_errors": 2}, "corrected 6 memory errors"),
        ({"pcie_generation": (3, 4)}, "generation 3 of 4 under load"),
    ],
)
def test_what_the_gpu_only_gives_notice_of_is_a_notice(state, named):
    comparison = compare(history(), session(state=dataclasses.replace(STATE, **state)))
    judgement = comparison.of("outcome", "single")
    assert (judgement.verdict, judgement.notice) == (Verdict.PASS, True)
    assert named in judgement.reason
    assert not compare(history(), session(state=STATE)).of("outcome", "single").notice


def test_hardware_errors_during_the_turns_are_seen():
    steady = [{"single": with_turns([factor] * 20)} for factor in QUIET]
    record = with_turns([1.0] * 20)
    state = dataclasses.replace(STATE, xid_errors=(79,))
    broken = dataclasses.replace(record, turns=dataclasses.replace(record.turns, state=state))
    judgement = compare(steady, {"single": broken}).of("outcome", "single")
    assert judgement.verdict is Verdict.FAIL
    assert "Xid 79" in judgement.reason
    assert verdict(compare(steady, {"single": record}), "outcome") is Verdict.PASS


# Nothing missing, nothing new.


def test_missing_precision_fails_and_is_named():
    comparison = compare([both(f) for f in QUIET], session())
    judgement = comparison.of("completeness", "")
    assert judgement.verdict is Verdict.FAIL
    assert "half" in judgement.reason
    assert comparison.verdict is Verdict.FAIL


def test_new_precision_has_no_baseline():
    comparison = compare(history(), both())
    assert all(
        verdict(comparison, metric, name) is Verdict.NO_BASELINE
        for metric, name in due_judgements(["half"], "cpu")
        if name
    )
    assert "half" in comparison.of("completeness", "").reason
    assert verdict(comparison, "speed", "single") is Verdict.PASS


def test_comparison_with_nothing_never_passes():
    assert compare([], {}).verdict is Verdict.NO_BASELINE
    assert compare([], session()).verdict is Verdict.NO_BASELINE
    assert compare(history(), {}).verdict is Verdict.FAIL


def test_what_was_not_judged_is_invalid():
    assert compare(history(), session()).of("speed", "half").verdict is Verdict.INVALID


# Pairs.


def test_pairs_see_through_noise_that_both_share():
    assert verdict(compare_pairs(pairs(1.3, 0.01))) is Verdict.FAIL
    assert verdict(compare_pairs(pairs(1.0, 0.01))) is Verdict.PASS
    assert verdict(compare_pairs(pairs(1.0, 0.3))) is Verdict.INCONCLUSIVE


def test_pairs_are_judged_more_strictly_the_more_looks_are_planned():
    one, three = (
        compare_pairs(pairs(1.1, 0.05), looks=looks).of("speed", "single").estimate.detectable
        for looks in (1, 3)
    )
    assert one < three


@pytest.mark.parametrize(("looks", "expected"), [(1, 5), (2, 6), (3, 6), (4, 7)])
def test_fewest_pairs_are_those_with_which_all_signs_alike_can_reject(looks, expected):
    # 2**-5 = 0.031 <= 0.05; 2**-6 = 0.0156 <= 0.025 and 0.0167; 2**-7 = 0.0078 <= 0.0125.
    assert fewest_pairs(looks) == expected
    assert 2.0**-expected <= LEVEL / looks < 2.0 ** -(expected - 1)


def test_pairs_below_that_number_cannot_fail():
    assert verdict(compare_pairs(pairs(2.0, 0.01, count=4))) is not Verdict.FAIL
    assert verdict(compare_pairs(pairs(2.0, 0.01, count=5))) is Verdict.FAIL


def test_unequal_pairs_are_refused():
    with pytest.raises(ValueError, match="half"):
        compare_pairs([(session(), both()), (session(), both())])


def test_pairs_list_how_their_software_differs():
    a = session()
    environment = dataclasses.replace(a["single"].environment, tensorflow="9.9")
    b = {"single": dataclasses.replace(a["single"], environment=environment)}
    (difference,) = compare_pairs([(a, b)] * 5).changed
    assert difference.name == "tensorflow"
