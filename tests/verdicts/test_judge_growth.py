"""Judging times and memory, on records made by hand and by hypothesis."""

import dataclasses
import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnprec.records.record import Record
from cnnprec.verdicts.case import ENOUGH
from cnnprec.verdicts.compare import compare, compare_pairs, due_judgements
from cnnprec.verdicts.verdict import Comparison, Limits, Metric, Verdict
from tests.support.histories import QUIET, history, on_gpu, session, timed, verdict, with_turns
from tests.support.records import record as make_record

# Speed.


def test_clear_slowdown_fails_and_says_how_large_it_is():
    judgement = compare(history(), session(1.5)).of("speed", "single")
    assert judgement.verdict is Verdict.FAIL
    assert judgement.estimate.ratio == pytest.approx(1.5, rel=0.02)  # QUIET is within 1.5 %
    assert "time per step grew by more than 3%" in judgement.reason


def test_one_disturbed_round_is_neither_a_slowdown_nor_a_pass():
    disturbed = {"single": timed(make_record("single"), [1.0, 5.0, 1.0])}
    assert verdict(compare(history(), disturbed)) is Verdict.INCONCLUSIVE
    assert verdict(compare(history(), session(5.0))) is Verdict.FAIL


def test_speedup_passes():
    assert verdict(compare(history(), session(0.5))) is Verdict.PASS


def test_slowdown_within_the_tolerance_is_no_failure_and_beyond_it_is():
    steady = history([1.0001, 0.9999, 1.0, 1.0001, 0.9999])
    limits = Limits(tolerance=0.05, margin=0.1)
    assert verdict(compare(steady, session(1.04), limits=limits)) is Verdict.PASS
    assert verdict(compare(steady, session(1.06), limits=limits)) is Verdict.FAIL


def test_noise_that_hides_the_margin_is_inconclusive():
    assert verdict(compare(history([0.7, 1.3, 0.8, 1.2, 0.75]), session(1.0))) is (
        Verdict.INCONCLUSIVE
    )


STEADY = [
    {"single": with_turns([factor * (1 + turn / 3000) for turn in range(60)])} for factor in QUIET
]


def test_stalls_of_some_turns_fail_by_the_mean_of_all():
    stalls = {"single": with_turns([5.0 if turn % 3 == 0 else 1.0 for turn in range(60)])}
    judgement = compare(STEADY, stalls).of("speed", "single")
    assert judgement.verdict is Verdict.FAIL
    assert judgement.quantity == "mean time per step"
    assert judgement.estimate.ratio == pytest.approx(1 + 4 / 3, rel=0.02)  # a third of the turns


def test_turns_disturbed_by_little_pass_by_their_fastest_third():
    disturbed = {"single": with_turns([1.2 if turn % 3 == 0 else 1.0 for turn in range(60)])}
    judgement = compare(STEADY, disturbed).of("speed", "single")
    assert judgement.verdict is Verdict.PASS
    assert judgement.quantity == "time per step"


def test_stalls_that_cannot_be_excluded_do_not_pass():
    stalling = [
        {"single": with_turns([1 + (share if turn % 3 == 0 else 0) for turn in range(60)])}
        for share in (0.1, 3.0, 0.2, 2.5, 0.1, 1.5)
    ]
    judgement = compare(stalling, {"single": with_turns([1.0] * 60)}).of("speed", "single")
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.quantity == "mean time per step"


@pytest.mark.parametrize("count", range(1, ENOUGH))
def test_too_few_sessions_are_inconclusive_and_say_how_many_are_missing(count):
    judgement = compare(history(QUIET[:count]), session(9.0)).of("speed", "single")
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert f"{ENOUGH} sessions needed, {count} found" in judgement.reason
    assert f"{ENOUGH - count} more time" in judgement.reason
    assert "ratio 9." in judgement.reason or "ratio 8.9" in judgement.reason


def test_untimed_session_is_invalid():
    record = session()["single"]
    rounds = tuple(dataclasses.replace(r, seconds=None, cpu_seconds=None) for r in record.rounds)
    current = {"single": dataclasses.replace(record, rounds=rounds)}
    assert verdict(compare(history(), current)) is Verdict.INVALID


def test_unfinished_session_is_invalid():
    record = session()["single"]
    current = {"single": dataclasses.replace(record, rounds=record.rounds[:2])}
    judgement = compare(history(), current).of("speed", "single")
    assert judgement.verdict is Verdict.INVALID
    assert "only 2 of 3 runs" in judgement.reason


@given(factors=st.lists(st.floats(0.5, 2), min_size=ENOUGH, max_size=12))
def test_typical_session_of_the_baseline_never_fails_against_it(factors):
    typical = statistics.geometric_mean(factors)
    assert verdict(compare(history(factors), session(typical))) is not Verdict.FAIL


@given(factors=st.lists(st.floats(0.5, 2), min_size=ENOUGH, max_size=ENOUGH))
def test_no_session_of_a_smallest_baseline_fails_against_it(factors):
    # The largest of n numbers is at most (n - 1) / sqrt(n) sample standard deviations above
    # their mean (Samuelson, "How Deviant Can You Be?", 1968): 1.79 for n = 5. A failure takes
    # t * sqrt(1 + 1 / n) of them: at least 2.13 * 1.095 = 2.33.
    for factor in factors:
        assert verdict(compare(history(factors), session(factor))) is not Verdict.FAIL


@given(
    factors=st.lists(st.floats(0.8, 1.25), min_size=ENOUGH, max_size=10),
    slow=st.floats(0.5, 4),
    slower=st.floats(1, 4),
)
def test_verdict_never_improves_with_the_slowdown(factors, slow, slower):
    order = [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL]
    first = verdict(compare(history(factors), session(slow)))
    second = verdict(compare(history(factors), session(slow * slower)))
    assert order.index(first) <= order.index(second)


@given(
    factors=st.lists(st.floats(0.8, 1.25), min_size=ENOUGH, max_size=8),
    rounds=st.lists(st.floats(0.5, 2), min_size=3, max_size=5),
    power=st.integers(-20, 20),
    seed=st.integers(0, 99),
)
def test_units_and_the_order_of_rounds_and_sessions_do_not_matter(factors, rounds, power, seed):
    base = make_record("single")

    def build(scale: float, shuffled: bool) -> Comparison:
        order = random.Random(seed)  # noqa: S311
        sessions = [
            {"single": timed(base, mix([f * r * scale for r in rounds], order, shuffled))}
            for f in mix(list(factors), order, shuffled)
        ]
        new = {"single": timed(base, mix([1.1 * r * scale for r in rounds], order, shuffled))}
        return compare(sessions, new)

    # A power of two changes no digit of a time, only of its logarithm.
    plain, other = build(1.0, False), build(2.0**power, True)
    assert verdict(plain) is verdict(other)
    for field in ("ratio", "low", "high"):
        a = getattr(plain.of("speed", "single").estimate, field)
        b = getattr(other.of("speed", "single").estimate, field)
        # Logarithms up to 15 in size, a few dozen sums, 2**-53 each.
        assert math.isclose(a, b, rel_tol=1e-12)


def mix(values: list[float], order: random.Random, shuffled: bool) -> list[float]:
    return order.sample(values, len(values)) if shuffled else values


def test_more_precisions_make_each_test_stricter():
    def many(count):
        names = ["single", "double", "half", "mixed_half", "bfloat16"][:count]
        pairs = [
            tuple({n: timed(make_record(n), [time] * 3) for n in names} for time in (1.0, f))
            for f in QUIET
        ]
        return compare_pairs(pairs).of("speed", "single").estimate.detectable

    assert many(1) < many(2) < many(3) < many(5)


# Memory.


def process(megabytes: int, other: int) -> dict[str, Record]:
    """A session of two precisions on a CPU, whose process had these peaks."""
    return {
        **session(peak_memory_bytes=megabytes * 10**6),
        **session(name="half", peak_memory_bytes=other * 10**6),
    }


def test_memory_on_a_cpu_is_that_of_the_process_and_judged_once():
    baseline = [process(500, 510)] * 6
    comparison = compare(baseline, process(700, 510))
    judged = [j for j in comparison.judgements if j.metric is Metric.MEMORY]
    assert [(j.precision, j.verdict) for j in judged] == [("", Verdict.FAIL)]
    assert judged[0].estimate.ratio == pytest.approx(700 / 510)
    assert verdict(compare(baseline, process(505, 510)), "memory", "") is Verdict.PASS


def test_memory_on_a_gpu_is_judged_by_precision():
    baseline = [on_gpu(process(500, 510))] * 6
    comparison = compare(baseline, on_gpu(process(700, 510)))
    judged = {j.precision: j.verdict for j in comparison.judgements if j.metric is Metric.MEMORY}
    assert judged == {"single": Verdict.FAIL, "half": Verdict.PASS}
    assert [(j.metric, j.precision) for j in comparison.judgements] == [
        (metric, name) for metric, name in due_judgements(["single", "half"], "gpu")
    ]


def test_memory_that_grew_fails_and_memory_of_this_system_unknown_is_said():
    grown = session(peak_memory_bytes=700_000_000)
    assert verdict(compare(history(), grown), "memory", "") is Verdict.FAIL
    unknown = compare(history(peak_memory_bytes=None), session(peak_memory_bytes=None)).of(
        "memory", ""
    )
    assert unknown.verdict is Verdict.INCONCLUSIVE
    assert "not known" in unknown.reason
