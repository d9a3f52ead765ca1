"""Judging outcomes, accuracy and bits, on records made by hand."""

import dataclasses

import pytest

from cnnprec.records.record import Outcome, Record
from cnnprec.verdicts.compare import compare, compare_pairs
from cnnprec.verdicts.judge_runs import ENOUGH_SEEDS
from cnnprec.verdicts.verdict import Verdict
from tests.support.histories import history, session, timed, verdict
from tests.support.records import record as make_record


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
    assert "50.00% or less, the worst before had 90.00%" in judgement.reason


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


@pytest.mark.parametrize(
    ("deterministic", "expected"), [(False, Verdict.INCONCLUSIVE), (True, Verdict.FAIL)]
)
def test_a_gpu_has_to_repeat_its_bits_only_with_op_determinism(deterministic, expected):
    made = {"device_kind": "gpu", "op_determinism": deterministic}

    def on_gpu(weights: str) -> dict[str, Record]:
        record = session(weights_sha256=weights * 64)["single"]
        environment = dataclasses.replace(record.environment, **made)
        return {"single": dataclasses.replace(record, environment=environment)}

    judgement = compare([on_gpu("a")] * 3, on_gpu("b")).of("numerics", "single")
    assert judgement.verdict is expected
    assert ("set TF_DETERMINISTIC_OPS=1" in judgement.reason) == (not deterministic)


def test_other_bits_of_another_stack_are_a_notice_with_the_size_of_the_difference():
    current = session(weights_sha256="b" * 64, first_losses=(2.30001,))["single"]
    environment = dataclasses.replace(current.environment, tensorflow="9.9")
    baseline = history(first_losses=(2.3,))
    judgement = compare(
        baseline, {"single": dataclasses.replace(current, environment=environment)}
    ).of("numerics", "single")
    assert judgement.verdict is Verdict.PASS
    assert judgement.notice
    assert "4.3e-06" in judgement.reason


@pytest.mark.parametrize("now", ["b", "0"])
def test_bits_are_inconclusive_where_the_baseline_does_not_repeat(now):
    baseline = [session(weights_sha256=str(i) * 64) for i in range(6)]
    judgement = compare(baseline, session(weights_sha256=now * 64)).of("numerics", "single")
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "does not repeat bitwise (seed 12, 13, 14)" in judgement.reason
    assert "TF_DETERMINISTIC_OPS=1" in judgement.reason
    assert "--benchmark-save=NAME" in judgement.reason


def test_remedy_leaves_out_determinism_where_it_is_on():
    baseline = [session(weights_sha256=str(i) * 64) for i in range(6)]
    now = session()["single"]
    environment = dataclasses.replace(now.environment, op_determinism=True)
    judgement = compare(baseline, {"single": dataclasses.replace(now, environment=environment)}).of(
        "numerics", "single"
    )
    assert "TF_DETERMINISTIC_OPS" not in judgement.reason
    assert "--benchmark-save=NAME" in judgement.reason


def test_pairs_whose_old_side_does_not_repeat_are_inconclusive_and_a_steady_one_is_judged():
    made = [(session(weights_sha256=str(i) * 64), session()) for i in range(5)]
    assert verdict(compare_pairs(made), "numerics") is Verdict.INCONCLUSIVE
    unsteady_now = [(b, a) for a, b in made]
    assert verdict(compare_pairs(unsteady_now), "numerics") is Verdict.FAIL
    steady = [(session(), session()) for _ in range(5)]
    assert verdict(compare_pairs(steady), "numerics") is Verdict.PASS


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


@pytest.mark.parametrize(
    ("code", "weights", "expected"),
    [
        ("new", "b", Verdict.PASS),  # the sessions of this very stack repeat, and so does this one
        ("new", "c", Verdict.INCONCLUSIVE),
        ("newer", "b", Verdict.INCONCLUSIVE),
        ("newer", "c", Verdict.INCONCLUSIVE),
        ("old", "a", Verdict.INCONCLUSIVE),
    ],
)
def test_only_a_stack_that_repeats_can_show_the_same_bits(code, weights, expected):
    baseline = [of_code("old", "a"), of_code("old", "d")] + [of_code("new", "b")] * 3
    judgement = compare(baseline, of_code(code, weights)).of("numerics", "single")
    assert judgement.verdict is expected


def test_outcome_that_differs_between_the_sides_fails():
    made = [(session(), session(outcome=Outcome.DIVERGED)) for _ in range(5)]
    assert verdict(compare_pairs(made), "outcome") is Verdict.FAIL


def with_stack(session: dict[str, Record], tensorflow: str = "9.9") -> dict[str, Record]:
    return {
        name: dataclasses.replace(
            record, environment=dataclasses.replace(record.environment, tensorflow=tensorflow)
        )
        for name, record in session.items()
    }


def test_other_accuracy_of_the_same_weights_fails():
    judgement = compare(history(test_accuracy=0.67), session(test_accuracy=0.10)).of(
        "accuracy", "single"
    )
    assert judgement.verdict is Verdict.FAIL
    assert "bitwise the same weights, but accuracy 67.00% -> 10.00%" in judgement.reason
    same = compare(history(test_accuracy=0.67), session(test_accuracy=0.67))
    assert same.of("accuracy", "single").verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ((0.09, 0.17, 0.11), Verdict.FAIL),  # far apart, so that Student's t sees nothing
        ((0.09, 0.55, 0.11), Verdict.INCONCLUSIVE),  # one seed is as good as before
        ((0.51, 0.52, 0.57), Verdict.INCONCLUSIVE),  # no worse than the worst before
    ],
)
def test_three_seeds_that_all_fall_below_the_worst_before_fail(now, expected):
    before = history(test_accuracy=lambda place: (0.53, 0.59, 0.62)[place])
    lost = session(weights_sha256="b" * 64, test_accuracy=lambda place: now[place])
    judgement = compare(before, with_stack(lost)).of("accuracy", "single")
    assert judgement.verdict is expected, judgement.reason


def test_new_first_bad_step_of_the_same_stack_is_another_outcome():
    bad = {"outcome": Outcome.DIVERGED, "first_bad_step": 2}
    later = session(**{**bad, "first_bad_step": 7})
    judgement = compare(history(**bad), later).of("outcome", "single")
    assert judgement.verdict is Verdict.FAIL
    assert "seed 12: first bad step 2 -> 7" in judgement.reason
    assert verdict(compare(history(**bad), with_stack(later)), "outcome") is Verdict.PASS


@pytest.mark.parametrize(("loss", "expected"), [(2.30001, Verdict.PASS), (2.3001, Verdict.FAIL)])
def test_first_losses_may_move_by_what_is_harmless_under_any_stack(loss, expected):
    now = with_stack(session(weights_sha256="b" * 64, first_losses=(2.3, loss)))
    judgement = compare(history(first_losses=(2.3, 2.3)), now).of("numerics", "single")
    assert judgement.verdict is expected
    if expected is Verdict.FAIL:
        assert "loss of step 1 moved by 4.3e-05, harmless is 1e-05 at most" in judgement.reason


def test_seeds_that_harmless_changes_were_not_recorded_with_are_not_held_to_them():
    def later_seed(side: dict[str, Record]) -> dict[str, Record]:
        return {
            name: dataclasses.replace(
                record,
                rounds=tuple(
                    dataclasses.replace(e, run=dataclasses.replace(e.run, seed=e.run.seed + 3))
                    for e in record.rounds
                ),
            )
            for name, record in side.items()
        }

    before = [later_seed(side) for side in history(first_losses=(2.3, 2.3))]
    now = later_seed(with_stack(session(weights_sha256="b" * 64, first_losses=(2.3, 2.31))))
    judgement = compare(before, now).of("numerics", "single")
    assert judgement.verdict is Verdict.PASS
    assert judgement.notice


def test_seed_that_does_not_repeat_is_exempt_alone():
    def sides(steady: str) -> dict[str, Record]:
        return session(weights_sha256=lambda place: (steady if place else next(shaky)) * 64)

    shaky = iter("abcdef" * 3)
    baseline = [sides("0") for _ in range(6)]
    passed = compare(baseline, sides("0")).of("numerics", "single")
    assert passed.verdict is Verdict.PASS
    assert passed.notice
    assert "does not repeat it: seed 12" in passed.reason
    failed = compare(baseline, sides("1")).of("numerics", "single")
    assert failed.verdict is Verdict.FAIL
    assert "seed 13, 14" in failed.reason
