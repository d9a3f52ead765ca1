import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cnnprec.workload.profiles import PROFILES, TrainingConfig, get_profile

COUNTS = st.integers(1, 100_000)


def config(**numbers) -> TrainingConfig:
    plain = {"train_samples": 64, "test_samples": 10, "epochs": 1, "runs": 1, "batch_size": 32}
    return TrainingConfig("test", **{**plain, **numbers})


def test_notebook_profile_is_the_notebook():
    notebook = get_profile("notebook")
    assert (notebook.train_samples, notebook.test_samples) == (60_000, 10_000)
    assert (notebook.epochs, notebook.runs, notebook.batch_size) == (5, 3, 32)
    assert notebook.steps_per_epoch == 1875


def test_unknown_profile_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'fast'.*quick, notebook"):
        get_profile("fast")


@pytest.mark.parametrize(
    "field", ["train_samples", "test_samples", "epochs", "runs", "batch_size", "width"]
)
@pytest.mark.parametrize("value", [0, -1])
def test_numbers_below_one_are_refused_by_the_name_of_their_option(field, value):
    with pytest.raises(ValueError, match=f"--{field.replace('_', '-')} {value}"):
        config(**{field: value})


def test_batch_as_large_as_the_data_is_accepted_and_a_larger_one_is_not():
    assert config(train_samples=32, batch_size=32).steps == 1
    with pytest.raises(ValueError, match="--batch-size 33: larger than the 32 training images"):
        config(train_samples=32, batch_size=33)


def test_unknown_jit_setting_is_refused():
    with pytest.raises(ValueError, match="--jit maybe: choose one of auto, on, off"):
        config(jit="maybe")


def test_workers_of_several_hosts_do_not_choose_whether_xla_compiles():
    with pytest.raises(ValueError, match="--jit best: several hosts may choose differently"):
        config(strategy="multiworker", jit="best")
    assert config(strategy="mirrored", jit="best").jit == "best"


def test_all_problems_are_reported_at_once():
    with pytest.raises(ValueError, match=r"--epochs 0.*--runs 0"):
        config(epochs=0, runs=0)


def test_override_changes_what_is_given_and_leaves_what_is_none():
    quick = PROFILES["quick"]
    assert quick.override(epochs=7, batch_size=None).epochs == 7
    assert quick.override(epochs=None) == quick
    with pytest.raises(ValueError, match="--epochs 0"):
        quick.override(epochs=0)


@given(COUNTS, COUNTS, st.integers(1, 50))
def test_executions_fill_an_epoch_exactly(train_samples, batch_size, epochs):
    assume(batch_size <= train_samples)
    some = config(train_samples=train_samples, batch_size=batch_size, epochs=epochs)
    assert some.steps_per_epoch % some.steps_per_execution == 0
    assert 0 <= train_samples - some.steps_per_epoch * batch_size < batch_size
    assert some.steps == some.steps_per_epoch * epochs
    # Either short enough for a progress line, or the whole epoch.
    assert some.steps_per_execution <= 100 or some.steps_per_execution == some.steps_per_epoch
