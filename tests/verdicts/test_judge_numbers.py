"""Judging the numbers themselves, on records made by hand."""

import dataclasses

import pytest

from cnnprec.machine.gpu_state import GpuState
from cnnprec.precision.precisions import get_precision
from cnnprec.records.numerics import Numerics, ProbeGroup, TensorErrors
from cnnprec.records.record import Outcome
from cnnprec.verdicts.compare import compare
from cnnprec.verdicts.judge_numbers import Check, faults
from cnnprec.verdicts.numeric_limits import first_over, limits, reference, seeds
from cnnprec.verdicts.verdict import Verdict
from cnnprec.workload.profiles import PROFILES
from tests.support.histories import history, session
from tests.support.records import a_round, record

SOUND = Numerics(
    level="quick",
    probes=(ProbeGroup("conv2d.forward", 0.5, 0.001, "0f"),),
    wrong=(),
    unsteady=(),
    losses=(0.0, 1e-7),
    tensors=(TensorErrors("conv1 kernel", 1e-6, 1e-8, 1e-7, 1e-5),),
    miscounted=0,
)
QUICK = PROFILES["quick"]
HERE = record().environment


def of_seed_12(**change):
    right = reference(QUICK, "fashion-mnist", 12)
    fields = {
        "loss": right["losses"][-1],
        "accuracy": right["test_accuracy"],
        "first_losses": tuple(right["first_losses"]),
        **change,
    }
    return record(config=QUICK, rounds=(a_round(**fields),))


def wrong(made) -> dict[Check, list[str]]:
    return {check: texts for check, texts in faults(made, {}).items() if texts}


@pytest.mark.parametrize(
    ("state", "named"),
    [
        ({"xid_errors": (79,)}, "Xid 79"),
        ({"new_ecc_errors": 2}, "2 uncorrected memory errors"),
        ({"repairs": ("row remapping pending",)}, "row remapping pending, reset or replace it"),
        ({"pcie_lanes": (8, 16)}, "8 of 16 lanes"),
        ({"pcie_lanes": (16, 16), "pcie_generation": (1, 4), "new_corrected_errors": 5}, None),
    ],
)
def test_gpu_that_is_not_sound_is_refused_without_a_baseline(state, named):
    told = dataclasses.replace(GpuState((), 0, (), 50, 1900, 300.0), **state)
    made = of_seed_12()
    rounds = tuple(dataclasses.replace(entry, state=told) for entry in made.rounds)
    found = wrong(dataclasses.replace(made, rounds=rounds))
    assert named in found[Check.HARDWARE][0] if named else found == {}


def test_loss_that_a_discontinuous_rounding_moves_is_no_fault():
    right = reference(QUICK, "fashion-mnist", 12)["first_losses"]
    late, early = list(right), list(right)
    late[12] *= 1 + 1.1e-5  # as oneDNN without AVX moved it
    early[4] *= 1 + 1.1e-5
    assert wrong(of_seed_12(first_losses=tuple(late))) == {}
    assert "step 4" in wrong(of_seed_12(first_losses=tuple(early)))[Check.LEARNING][0]


@pytest.mark.parametrize(
    ("change", "check", "named"),
    [
        ({"wrong": ("conv2d.x[float32]: 3.1",)}, Check.OPERATIONS, "conv2d.x"),
        (
            {"probes": (ProbeGroup("conv2d.forward", 0.9, 0.4, "0f"),)},
            Check.OPERATIONS,
            "conv2d.forward: errors lean",
        ),
        ({"losses": (0.0, 1e-4)}, Check.FIRST_STEPS, "loss of step 1"),
        (
            {"tensors": (TensorErrors("conv1 kernel", 0.5, 1e-8, 1e-7, 1e-5),)},
            Check.FIRST_STEPS,
            "conv1 kernel: gradient 0.5",
        ),
        (
            {"tensors": (TensorErrors("conv1 kernel", 1e-6, 1e-8, 1e-7, float("inf")),)},
            Check.FIRST_STEPS,
            "conv1 kernel: update inf",
        ),
        ({"miscounted": -57}, Check.FIRST_STEPS, "evaluation: -57"),
    ],
)
def test_what_is_over_its_limit_is_named_and_fails_with_and_without_a_baseline(
    change, check, named
):
    made = record(numerics=dataclasses.replace(SOUND, **change))
    assert list(wrong(made)) == [check]
    assert named in wrong(made)[check][0]
    now = dataclasses.replace(session()["single"], numerics=made.numerics)
    judgement = compare(history(), {"single": now}).of("numerics", "single")
    assert judgement.verdict is Verdict.FAIL
    assert named in judgement.reason


def test_sound_numbers_pass_with_and_without_a_baseline():
    assert wrong(record(numerics=SOUND)) == {}
    now = dataclasses.replace(session()["single"], numerics=SOUND)
    assert compare(history(), {"single": now}).of("numerics", "single").verdict is Verdict.PASS


def test_other_bits_of_the_same_probes_fail_where_the_stack_is_the_same():
    before = dataclasses.replace(session()["single"], numerics=SOUND)
    other = (ProbeGroup("conv2d.forward", 0.5, 0.001, "1f"),)
    now = dataclasses.replace(before, numerics=dataclasses.replace(SOUND, probes=other))
    judgement = compare([{"single": before}] * 5, {"single": now}).of("numerics", "single")
    assert judgement.verdict is Verdict.FAIL
    assert "other bits of conv2d.forward" in judgement.reason
    environment = dataclasses.replace(now.environment, tensorflow="9.9")
    now = dataclasses.replace(now, environment=environment)
    judgement = compare([{"single": before}] * 5, {"single": now}).of("numerics", "single")
    assert judgement.verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("precision", "outcome", "expected"),
    [
        ("single", Outcome.TRAINED, True),
        ("single", Outcome.NOT_LEARNING, False),
        ("single", Outcome.DIVERGED, False),
        ("half", Outcome.DIVERGED, True),
        ("half", Outcome.NOT_LEARNING, False),
        ("bfloat16", Outcome.FROZEN, True),
        ("bfloat16", Outcome.TRAINED, False),
    ],
)
def test_only_a_precision_that_cannot_train_may_end_otherwise(precision, outcome, expected):
    long = dataclasses.replace(record().config, epochs=4)  # 40 steps
    made = record(precision, rounds=(a_round(outcome=outcome),), config=long)
    assert (wrong(made) == {}) is expected


def test_too_short_a_work_need_not_fail():
    assert wrong(record("half", rounds=(a_round(outcome=Outcome.TRAINED),))) == {}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"accuracy": 0.097}, "accuracy 9.7%"),
        ({"loss": 2.3}, "last loss"),
        ({"first_losses": (2.5,)}, "loss of step 0"),
        ({"first_losses": (float("nan"),)}, "loss of step 0 is inf"),
    ],
)
def test_run_far_from_the_shipped_reference_is_wrong(change, named):
    assert wrong(of_seed_12()) == {}
    assert named in wrong(of_seed_12(**change))[Check.LEARNING][0]


def test_reference_and_limits_are_of_the_same_seeds():
    have = [seed for seed in range(100) if reference(QUICK, "fashion-mnist", seed)]
    assert have == seeds() == [12, 13, 14]


@pytest.mark.parametrize(("moved", "expected"), [(1.005, {}), (1.02, "0.02 from float64's")])
def test_last_loss_may_be_off_by_one_percent(moved, expected):
    last = reference(QUICK, "fashion-mnist", 12)["losses"][-1]
    found = wrong(of_seed_12(loss=moved * last))
    assert expected in found[Check.LEARNING][0] if expected else found == {}


@pytest.mark.parametrize("onednn", [False, True])
def test_what_the_last_loss_may_be_off_by_says_nothing_of_the_accuracy(onednn):
    accuracy = reference(QUICK, "fashion-mnist", 12)["test_accuracy"]
    made = of_seed_12(accuracy=accuracy - 0.02)
    double = dataclasses.replace(made, precision=get_precision("double"))
    there = dataclasses.replace(double, environment=dataclasses.replace(HERE, onednn=onednn))
    assert "accuracy 50.4%, float64 has 52.4%" in wrong(there)[Check.LEARNING][0]


def test_other_work_has_no_shipped_reference_and_is_held_to_double():
    assert reference(QUICK.override(epochs=3), "fashion-mnist", 12) is None
    assert reference(QUICK, "synthetic", 12) is None
    double = record("double", rounds=(a_round(loss=0.5),))
    for loss, expected in ((0.6, []), (2.1, ["the loss fell by 0.20, that of double by 1.80"])):
        made = record(rounds=(a_round(loss=loss),))
        assert faults(made, {"double": double})[Check.LEARNING] == expected


def test_limits_are_ten_times_the_recorded_values_and_infinite_where_there_is_none():
    assert limits("losses", "mixed_half", HERE)[0] == pytest.approx(3.4e-4)
    assert limits("losses", "half", HERE)[1] == float("inf")
    assert limits("losses", "tf32", HERE) == limits("losses", "mixed_half", HERE)


@pytest.mark.parametrize("change", [{"onednn": True}, {"device_kind": "gpu"}])
def test_where_nothing_was_recorded_only_gross_faults_are_over_a_limit(change):
    there = dataclasses.replace(HERE, **change)
    assert limits("losses", "single", there)[1] == 100 * limits("losses", "single", HERE)[1]

    def found(losses):
        made = record(numerics=dataclasses.replace(SOUND, losses=losses))
        return wrong(dataclasses.replace(made, environment=there))

    assert found((0.0, 1e-4)) == {}
    assert "loss of step 1" in found((0.0, 0.1))[Check.FIRST_STEPS][0]
    bound = dataclasses.replace(SOUND, wrong=("conv2d.x[float32]: 3.1",))
    made = dataclasses.replace(record(numerics=bound), environment=there)
    assert Check.OPERATIONS in wrong(made)


def test_first_step_over_its_limit_is_found():
    assert first_over((1.0, 2.0, 9.0), (1.0, 2.0, 3.0), (0.1, 0.1, 0.1)) == (2, 2.0)
    assert first_over((1.0, 2.1), (1.0, 2.0), (0.1, 0.1)) is None
    assert first_over((float("nan"),), (float("nan"),), (0.1,)) is None


@pytest.mark.parametrize("kind", ["losses", "float64", "steps", "runs", "tensors"])
@pytest.mark.parametrize("name", ["double", "single", "half"])
def test_limits_with_xla_are_those_without_it(kind, name):
    assert limits(kind, f"{name}_xla", HERE) == limits(kind, name, HERE)
    assert limits(kind, "double_xla", HERE) != limits(kind, "mixed_half_xla", HERE)
