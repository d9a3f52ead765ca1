import dataclasses
import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings

from cnnprec.machine.gpu_state import GpuState
from cnnprec.records.record import SCHEMA_VERSION, Outcome, Record, Round, TrainingRun
from tests.support.strategies import RECORDS

DATA = Path(__file__).parents[1] / "data"


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
    from tests.support.records import record

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


def version_2_record() -> dict:
    """What version 2 wrote: without the field that version 3 added."""
    plain = {**plain_record(), "schema_version": 2}
    del plain["environment"]["cpu_features"]
    return plain


def version_1_record() -> dict:
    """What version 1 wrote: without the fields that version 2 added, too."""
    plain = {**version_2_record(), "schema_version": 1}
    del plain["environment"]["code"], plain["environment"]["commit"]
    for entry in plain["rounds"]:
        del entry["state"]
    return plain


def test_version_1_is_read_as_the_present_version_without_what_it_did_not_keep():
    present = make_record()
    environment = dataclasses.replace(
        present.environment, code="unknown", commit=None, cpu_features=None
    )
    rounds = tuple(dataclasses.replace(entry, state=None) for entry in present.rounds)
    read = Record.from_dict(version_1_record())
    assert read == dataclasses.replace(present, environment=environment, rounds=rounds)
    assert read.schema_version == SCHEMA_VERSION


def test_version_2_is_read_as_the_present_version_without_the_features_of_the_cpu():
    present = make_record()
    environment = dataclasses.replace(present.environment, cpu_features=None)
    read = Record.from_dict(version_2_record())
    assert read == dataclasses.replace(present, environment=environment)
    assert read.schema_version == SCHEMA_VERSION


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_sessions_that_each_version_saved_are_read(version):
    saved = json.loads((DATA / f"session-schema-{version}.json").read_text())
    plains = [entry["extra_info"]["cnnprec"] for entry in saved["benchmarks"]]
    assert {plain["schema_version"] for plain in plains} == {version}
    records = [Record.from_dict(plain) for plain in plains]
    assert [record.precision.name for record in records] == [
        plain["precision"]["name"] for plain in plains
    ]


def test_version_1_that_was_read_can_be_written_and_read_again():
    read = Record.from_dict(version_1_record())
    assert Record.from_dict(read.to_dict()) == read


def test_reading_version_1_does_not_change_what_it_reads():
    plain = version_1_record()
    Record.from_dict(plain)
    assert plain == version_1_record()


@pytest.mark.parametrize("field", ["environment", "rounds"])
def test_damaged_version_1_is_refused_as_version_1(field):
    plain = version_1_record()
    del plain[field]
    with pytest.raises(ValueError, match=f"schema version 1: .*{field}"):
        Record.from_dict(plain)


@pytest.mark.parametrize("field", ["code", "commit"])
def test_version_2_without_the_fields_it_added_is_refused(field):
    plain = version_2_record()
    del plain["environment"][field]
    with pytest.raises(ValueError, match=f"schema version 2: .*{field}"):
        Record.from_dict(plain)


def test_version_3_without_the_field_it_added_is_refused():
    plain = {**version_2_record(), "schema_version": 3}
    with pytest.raises(ValueError, match=r"schema version 3: .*cpu_features"):
        Record.from_dict(plain)


def test_state_of_the_gpu_is_kept_with_its_round():
    told = (4, ("row remapping pending",), 1, (8, 16), None, 0)
    state = GpuState(("thermal",), 2, (79,), 88, 1200, 699.5, *told)
    entry = Round(make_run(), 1.0, 1.0, None, state)
    plain = json.loads(json.dumps(make_record(rounds=(entry,)).to_dict()))
    assert plain["rounds"][0]["state"] == {
        "throttled": ["thermal"],
        "new_ecc_errors": 2,
        "xid_errors": [79],
        "temperature_celsius": 88,
        "sm_clock_mhz": 1200,
        "power_watts": 699.5,
        "new_corrected_errors": 4,
        "repairs": ["row remapping pending"],
        "remapped_rows": 1,
        "pcie_lanes": [8, 16],
        "pcie_generation": None,
        "other_processes": 0,
    }
    assert Record.from_dict(plain).rounds[0].state == state


def test_state_of_an_older_record_lacks_what_was_not_read_then():
    state = GpuState(("thermal",), 2, (79,), 88, 1200, 699.5)
    plain = make_record(rounds=(Round(make_run(), 1.0, 1.0, None, state),)).to_dict()
    for name in ("new_corrected_errors", "repairs", "pcie_lanes", "other_processes"):
        del plain["rounds"][0]["state"][name]
    assert Record.from_dict(plain).rounds[0].state == state


def test_state_of_the_wrong_type_is_refused():
    plain = plain_record()
    plain["rounds"][0]["state"] = {"throttled": "thermal"}
    with pytest.raises(ValueError, match="state"):
        Record.from_dict(plain)


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
