import json
import math

import pytest
from hypothesis import given, settings

from cnnprec.record import SCHEMA_VERSION, Outcome, Record, Round, TrainingRun
from tests.strategies import RECORDS


def plain_record() -> dict:
    return json.loads(json.dumps(make_record().to_dict()))


def make_run(**fields) -> TrainingRun:
    values = {
        "seed": 12,
        "outcome": Outcome.TRAINED,
        "losses": (2.0, 1.0),
        "first_losses": (2.3,),
        "test_accuracy": 0.9,
        "first_bad_step": None,
        "loss_scales": ((0, 32768.0), (33, 16384.0)),
        "weights_sha256": "0" * 64,
    }
    return TrainingRun(**{**values, **fields})


def make_record(**fields) -> Record:
    from tests.test_report import record

    return record(**fields)


@given(RECORDS)
@settings(deadline=None)  # the first example builds the strategy
def test_json_keeps_every_record_bit_for_bit(record):
    # allow_nan=False: the text has to be JSON that any reader accepts.
    text = json.dumps(record.to_dict(), allow_nan=False)
    back = Record.from_dict(json.loads(text))
    # NaN is not equal to itself, but its repr is.
    assert repr(back) == repr(record)


def test_non_finite_losses_are_written_as_words():
    run = make_run(losses=(math.inf, -math.inf), first_losses=(math.nan,))
    plain = make_record(rounds=(Round(run, 1.0, 1.0, None),)).to_dict()
    assert plain["rounds"][0]["run"]["losses"] == ["inf", "-inf"]
    assert plain["rounds"][0]["run"]["first_losses"] == ["nan"]


def test_reading_does_not_change_what_it_reads():
    plain = plain_record()
    before = json.dumps(plain)
    Record.from_dict(plain)
    assert json.dumps(plain) == before


@pytest.mark.parametrize("version", [None, 0, SCHEMA_VERSION + 1, "1"])
def test_other_schema_versions_are_refused_by_number(version):
    with pytest.raises(ValueError, match=f"schema version {version!r}"):
        Record.from_dict({**plain_record(), "schema_version": version})


@pytest.mark.parametrize("field", ["precision", "config", "data", "environment", "rounds"])
def test_missing_field_is_named(field):
    plain = plain_record()
    del plain[field]
    with pytest.raises(ValueError, match=field):
        Record.from_dict(plain)


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("jit_compiled", "yes", "jit_compiled"),
        ("warm_up_seconds", "nan", "warm_up_seconds"),
        ("rounds", [1], "not a record"),
        ("precision", "half", "precision"),
    ],
)
def test_wrong_type_is_named(field, value, named):
    with pytest.raises(ValueError, match=named):
        Record.from_dict({**plain_record(), field: value})


def test_unknown_outcome_is_refused():
    plain = plain_record()
    plain["rounds"][0]["run"]["outcome"] = "exploded"
    with pytest.raises(ValueError, match="exploded"):
        Record.from_dict(plain)


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_impossible_times_are_refused(seconds):
    with pytest.raises(ValueError, match="not a positive time"):
        Round(make_run(), seconds, None, None)
    with pytest.raises(ValueError, match="not a positive time"):
        Round(make_run(), None, seconds, None)


@pytest.mark.parametrize("accuracy", [-0.1, 1.1, math.nan])
def test_accuracy_outside_zero_to_one_is_refused(accuracy):
    with pytest.raises(ValueError, match="not a fraction"):
        make_run(test_accuracy=accuracy)


def test_run_without_an_epoch_is_refused():
    with pytest.raises(ValueError, match="losses is empty"):
        make_run(losses=())


def test_final_loss_scale_is_that_of_the_last_change():
    assert make_run().final_loss_scale == 16384.0
    assert make_run(loss_scales=()).final_loss_scale is None
