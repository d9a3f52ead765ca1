"""The decisions, on records made by hand and by hypothesis; nothing is measured here."""

import dataclasses
import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnprec.machine.gpu_state import GpuState
from cnnprec.records.record import Outcome, Record
from cnnprec.verdicts.case import ENOUGH, MEMORY, clocks, figure
from cnnprec.verdicts.compare import compare, compare_pairs, due_judgements, fewest_pairs
from cnnprec.verdicts.judge_runs import ENOUGH_SEEDS
from cnnprec.verdicts.statistics import LEVEL
from cnnprec.verdicts.verdict import (
    Comparison,
    Judgement,
    Limits,
    Metric,
    Verdict,
    parse_share,
)
from tests.support.records import record as make_record

QUIET = (0.99, 1.01, 1.0, 0.985, 1.015, 1.005)


def session(factor: float = 1.0, name: str = "single", **change) -> dict[str, Record]:
    """A session of one precision whose times are `factor` seconds."""
    return {name: timed(make_record(name), [factor] * 3, **change)}


def timed(record: Record, seconds: list[float], **change) -> Record:
    """The record with these rounds; `change` holds fields of its runs and rounds."""
    run_fields = {field.name for field in dataclasses.fields(record.rounds[0].run)}
    rounds = []
    for place, value in enumerate(seconds):
        entry = record.rounds[0]
        run = dataclasses.replace(
            entry.run,
            seed=12 + place,
            **{k: v(place) if callable(v) else v for k, v in change.items() if k in run_fields},
        )
        rounds.append(
            dataclasses.replace(
                entry,
                run=run,
                seconds=value,
                cpu_seconds=2 * value,
                **{
                    "peak_memory_bytes": 500_000_000,
                    **{k: v for k, v in change.items() if k not in run_fields},
                },
            )
        )
    config = dataclasses.replace(record.config, runs=len(seconds))
    return dataclasses.replace(record, rounds=tuple(rounds), config=config)


def history(factors=QUIET, **change) -> list[dict[str, Record]]:
    return [session(factor, **change) for factor in factors]


def verdict(comparison: Comparison, metric: str = "speed", name: str = "single") -> Verdict:
    return comparison.of(metric, name).verdict


def on_gpu(session: dict[str, Record]) -> dict[str, Record]:
    """The session as if it had been measured on a GPU."""
    return {
        name: dataclasses.replace(
            record, environment=dataclasses.replace(record.environment, device_kind="gpu")
        )
        for name, record in session.items()
    }


# Speed.


def test_equal_session_passes_everything():
    comparison = compare(history(), session())
    assert [(j.metric, j.precision) for j in comparison.judgements] == due_judgements(
        ["single"], "cpu"
    )
    assert {j.verdict for j in comparison.judgements} == {Verdict.PASS}
    assert comparison.verdict is Verdict.PASS


def test_clear_slowdown_fails_and_says_how_large_it_is():
    judgement = compare(history(), session(1.5)).of("speed", "single")
    assert judgement.verdict is Verdict.FAIL
    assert judgement.estimate.ratio == pytest.approx(1.5, rel=0.02)  # QUIET is within 1.5 %
    assert "CPU time grew by more than 3%" in judgement.reason


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


@pytest.mark.parametrize("count", range(1, ENOUGH))
def test_too_few_sessions_are_inconclusive_and_say_how_many_are_missing(count):
    judgement = compare(history(QUIET[:count]), session(9.0)).of("speed", "single")
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert f"{ENOUGH} sessions needed, {count} found" in judgement.reason
    assert f"{ENOUGH - count} more time" in judgement.reason
    assert "ratio 9." in judgement.reason or "ratio 8.9" in judgement.reason


def waiting(session: dict[str, Record]) -> dict[str, Record]:
    """The session with twice the wall time and the same CPU time."""
    record = session["single"]
    rounds = tuple(dataclasses.replace(r, seconds=r.seconds * 2) for r in record.rounds)
    return {"single": dataclasses.replace(record, rounds=rounds)}


def test_wall_time_that_grew_alone_does_not_pass_and_says_what_it_can_mean():
    judgement = compare(history(), waiting(session())).of("speed", "single")
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.quantity == "wall time"
    assert "the machine was busy with other work, or the process waits" in judgement.reason


def test_wall_time_that_grew_alone_fails_where_both_sides_ran_by_turns():
    made = [(a, waiting(b)) for a, b in pairs(1.0, 0.01)]
    judgement = compare_pairs(made).of("speed", "single")
    assert judgement.verdict is Verdict.FAIL
    assert judgement.quantity == "wall time"


def test_accelerator_is_judged_by_wall_time():
    assert clocks(make_record("single"))[0].field == "cpu_seconds"
    assert [clock.field for clock in clocks(on_gpu(session())["single"])] == ["seconds"]


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_shares_of_the_error_leave_the_rest_to_accuracy(kind):
    record = make_record("single")
    environment = dataclasses.replace(record.environment, device_kind=kind)
    shares = sum(
        s.share for s in (*clocks(dataclasses.replace(record, environment=environment)), MEMORY)
    )
    assert math.isclose(shares + 0.1, 1)


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
        sessions = [{name: timed(make_record(name), [f] * 3) for name in names} for f in QUIET]
        current = {name: timed(make_record(name), [1.0] * 3) for name in names}
        return compare(sessions, current).of("speed", "single").estimate.detectable

    assert many(1) < many(2) < many(5)


# Other metrics.


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


@pytest.mark.parametrize(
    ("before", "now"),
    [(Outcome.TRAINED, Outcome.DIVERGED), (Outcome.DIVERGED, Outcome.TRAINED)],
)
def test_other_outcome_fails_in_both_directions(before, now):
    comparison = compare(history(outcome=before), session(outcome=now))
    judgement = comparison.of("outcome", "single")
    assert judgement.verdict is Verdict.FAIL
    assert f"seed 12: {before} -> {now}" in judgement.reason


def test_outcome_that_the_baseline_itself_shows_now_and_then_is_no_change():
    baseline = [*history(outcome=Outcome.TRAINED), *history(outcome=Outcome.DIVERGED)]
    assert verdict(compare(baseline, session(outcome=Outcome.DIVERGED)), "outcome") is Verdict.PASS


def test_loss_of_accuracy_fails_though_the_weights_are_others():
    judgement = compare(
        history(test_accuracy=0.9), session(test_accuracy=0.5, weights_sha256="b" * 64)
    ).of("accuracy", "single")
    assert judgement.verdict is Verdict.FAIL
    assert "-40.00 percentage points" in judgement.reason


def test_accuracy_needs_ten_seeds_where_the_bits_changed():
    changed = {"weights_sha256": "b" * 64}
    few = compare(history(), session(**changed)).of("accuracy", "single")
    assert few.verdict is Verdict.INCONCLUSIVE
    assert f"--runs {ENOUGH_SEEDS}" in few.reason

    def of(size, **change):
        return {"single": timed(make_record("single"), [1.0] * size, **change)}

    wobble = {"test_accuracy": lambda place: 0.9 + 0.001 * (place % 3)}
    many = compare([of(10)] * 5, of(10, **changed, **wobble)).of("accuracy", "single")
    assert many.verdict is Verdict.PASS
    rough = {"test_accuracy": lambda place: 0.9 + 0.05 * (-1) ** place}
    unclear = compare([of(10)] * 5, of(10, **changed, **rough)).of("accuracy", "single")
    assert unclear.verdict is Verdict.INCONCLUSIVE
    lost = {"test_accuracy": lambda place: 0.87 + 0.001 * (place % 3)}
    assert compare([of(10)] * 5, of(10, **changed, **lost)).of("accuracy", "single").verdict is (
        Verdict.FAIL
    )


def test_precision_that_never_trained_has_no_accuracy_to_lose():
    diverged = {"outcome": Outcome.DIVERGED}
    judgement = compare(
        history(**diverged), session(weights_sha256="b" * 64, test_accuracy=0.0, **diverged)
    ).of("accuracy", "single")
    assert judgement.verdict is Verdict.PASS


def test_other_bits_of_the_same_stack_fail():
    judgement = compare(history(), session(weights_sha256="b" * 64)).of("numerics", "single")
    assert judgement.verdict is Verdict.FAIL
    assert "no longer repeat" in judgement.reason


def test_other_bits_of_another_stack_are_a_notice_with_the_size_of_the_difference():
    current = session(weights_sha256="b" * 64, first_losses=(2.3023,))["single"]
    environment = dataclasses.replace(current.environment, tensorflow="9.9")
    baseline = history(first_losses=(2.3,))
    judgement = compare(
        baseline, {"single": dataclasses.replace(current, environment=environment)}
    ).of("numerics", "single")
    assert judgement.verdict is Verdict.PASS
    assert judgement.notice
    assert "1.0e-03" in judgement.reason


def test_bits_mean_nothing_where_the_baseline_does_not_repeat():
    baseline = [session(weights_sha256=str(i) * 64) for i in range(6)]
    judgement = compare(baseline, session(weights_sha256="b" * 64)).of("numerics", "single")
    assert judgement.verdict is Verdict.PASS
    assert "does not repeat" in judgement.reason


def of_code(code: str, weights: str) -> dict[str, Record]:
    record = session(weights_sha256=weights * 64)["single"]
    environment = dataclasses.replace(record.environment, code=code)
    return {"single": dataclasses.replace(record, environment=environment)}


@pytest.mark.parametrize(
    ("code", "weights", "expected", "named"),
    [
        ("new", "b", Verdict.PASS, "bitwise as before"),
        ("new", "a", Verdict.FAIL, "no longer repeat"),
        ("newer", "a", Verdict.PASS, "bitwise as before"),
        ("newer", "c", Verdict.PASS, "other bits"),
    ],
)
def test_commits_that_changed_the_bits_do_not_hide_each_other(code, weights, expected, named):
    baseline = [of_code("old", "a")] * 3 + [of_code("new", "b")] * 3
    judgement = compare(baseline, of_code(code, weights)).of("numerics", "single")
    assert judgement.verdict is expected
    assert named in judgement.reason


STATE = GpuState((), 0, (), 50, 1900, 300.0)


@pytest.mark.parametrize(
    ("state", "metric", "expected", "named"),
    [
        ({"throttled": ("thermal",)}, "speed", Verdict.INCONCLUSIVE, "thermal"),
        ({"new_ecc_errors": 2}, "outcome", Verdict.FAIL, "6 uncorrected memory errors"),
        ({"xid_errors": (79,)}, "outcome", Verdict.FAIL, "Xid 79"),
    ],
)
def test_hardware_in_trouble_is_seen(state, metric, expected, named):
    comparison = compare(history(), session(state=dataclasses.replace(STATE, **state)))
    judgement = comparison.of(metric, "single")
    assert judgement.verdict is expected
    assert named in judgement.reason
    assert verdict(compare(history(), session(state=STATE)), metric) is Verdict.PASS


# Nothing missing, nothing new.


def both(factor: float = 1.0) -> dict[str, Record]:
    return {**session(factor), **session(factor, name="half")}


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


@given(st.lists(st.sampled_from(Verdict), min_size=1))
def test_verdict_of_the_whole_passes_only_if_all_pass(found):
    whole = Comparison(
        tuple(Judgement(Metric.SPEED, "single", v, "") for v in found), (), ""
    ).verdict
    assert (whole is Verdict.PASS) == (set(found) == {Verdict.PASS})
    assert Verdict.FAIL not in found or whole is Verdict.FAIL


# Pairs.


def pairs(ratio: float, noise: float, count: int = 8, seed: int = 1):
    order = random.Random(seed)  # noqa: S311
    made = []
    for _ in range(count):
        shared = order.lognormvariate(0, 0.3)  # the machine's minute, which a pair shares
        made.append(
            tuple(
                session(shared * factor * order.lognormvariate(0, noise)) for factor in (1, ratio)
            )
        )
    return made


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


def test_single_pair_and_unequal_pairs_are_refused():
    with pytest.raises(ValueError, match="at least 2"):
        compare_pairs(pairs(1.0, 0.01, count=1))
    with pytest.raises(ValueError, match="half"):
        compare_pairs([(session(), both()), (session(), both())])


def test_pairs_list_how_their_software_differs():
    a = session()
    environment = dataclasses.replace(a["single"].environment, tensorflow="9.9")
    b = {"single": dataclasses.replace(a["single"], environment=environment)}
    (difference,) = compare_pairs([(a, b)] * 5).changed
    assert difference.name == "tensorflow"


def test_outcome_that_differs_between_the_sides_fails():
    made = [(session(), session(outcome=Outcome.DIVERGED)) for _ in range(5)]
    assert verdict(compare_pairs(made), "outcome") is Verdict.FAIL


# Small parts.


def test_figure_is_the_geometric_mean_and_none_where_a_round_has_no_time():
    record = timed(make_record("single"), [1.0, 4.0, 2.0])
    assert figure(record, "seconds") == pytest.approx(2.0, rel=1e-15)
    rounds = (*record.rounds[:2], dataclasses.replace(record.rounds[2], seconds=None))
    assert figure(dataclasses.replace(record, rounds=rounds), "seconds") is None


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
