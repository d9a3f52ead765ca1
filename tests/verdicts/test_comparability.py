import dataclasses
import json
from pathlib import Path

import pytest

from cnnprec.records.record import Record
from cnnprec.verdicts import comparability
from cnnprec.verdicts.comparability import (
    FIELDS,
    STACK_NAMES,
    Part,
    differences,
    parse_vary,
    refused,
)
from tests.support.mutations import NOT_COMPARED, PATHS, changed

SAVED = json.loads((Path(__file__).parents[1] / "data/session-schema-5.json").read_text())
OLD = Record.from_dict(SAVED["benchmarks"][0]["extra_info"]["cnnprec"])
# What older records do not hold.
NEW = {"intra_op_threads": 2, "inter_op_threads": 2, "variables": ("TF_ENABLE_ONEDNN_OPTS=0",)}
RECORD = dataclasses.replace(OLD, environment=dataclasses.replace(OLD.environment, **NEW))

NAMES = {
    Part.MACHINE: [
        "device_kind",
        "device_model",
        "device_count",
        "device_memory_bytes",
        "mig_mode",
        "power_limit_watts",
        "cpu_model",
        "cpu_features",
        "usable_cores",
        "system",
        "architecture",
    ],
    Part.WORKLOAD: [
        "data",
        "data_digest",
        "profile",
        "train_samples",
        "test_samples",
        "epochs",
        "runs",
        "batch_size",
        "jit",
        "seed",
        "turns",
        "width",
        "strategy",
        "jit_compiled",
        "precision",
        "precisions",
        "variable_dtype",
        "compute_dtype",
        "loss_scaling",
        "tensor_float_32",
        "optimizer_overrides",
        "xla",
        "replicas",
        "op_determinism",
        "onednn",
        "intra_op_threads",
        "inter_op_threads",
    ],
    Part.STACK: [
        "driver",
        "cuda",
        "cudnn",
        "vbios",
        "tensorflow",
        "keras",
        "numpy",
        "python",
        "kernel",
        "variables",
        "code",
    ],
}


def compared(path: str) -> list[comparability.Field]:
    """The rows of the table that see a change of this field."""
    return [field for field in FIELDS if field.read(changed(RECORD, path)) != field.read(RECORD)]


@pytest.mark.parametrize("path", PATHS)
def test_every_field_is_compared_once_or_left_out_with_a_reason(path):
    # A precision of another name makes another set of precisions too.
    often = 2 if path == "precision.name" else 1
    assert len(compared(path)) == (0 if NOT_COMPARED.get(path) else often)


def test_every_field_left_out_exists():
    assert set(NOT_COMPARED) <= set(PATHS)


@pytest.mark.parametrize("part", Part)
def test_part_holds_the_documented_names_in_order(part):
    assert [field.name for field in FIELDS if field.part is part] == NAMES[part]


def test_names_are_unique():
    assert len({field.name for field in FIELDS}) == len(FIELDS)


COMPARED = [path for path in PATHS if path not in NOT_COMPARED]
FIXED = [path for path in COMPARED if compared(path)[0].part is not Part.STACK]
FREE = [path for path in COMPARED if path not in FIXED]


@pytest.mark.parametrize("path", FIXED)
def test_a_change_of_machine_or_workload_is_refused_whatever_may_vary(path):
    found = differences(RECORD, changed(RECORD, path))
    assert [difference.name for difference in found] == [row.name for row in compared(path)]
    assert refused(found) == found
    assert refused(found, frozenset()) == found
    assert refused(found, frozenset(STACK_NAMES)) == found


@pytest.mark.parametrize("path", FREE)
def test_a_change_of_the_stack_is_listed_and_refused_only_where_others_are_to_vary(path):
    found = differences(RECORD, changed(RECORD, path))
    name = path.partition(".")[2]
    assert [difference.name for difference in found] == [name]
    assert refused(found) == ()
    assert refused(found, frozenset({name})) == ()
    assert refused(found, frozenset(STACK_NAMES)) == ()
    assert refused(found, frozenset()) == found
    assert refused(found, frozenset(STACK_NAMES) - {name}) == found


def test_equal_records_have_no_difference():
    again = Record.from_dict(json.loads(json.dumps(RECORD.to_dict())))
    assert differences(RECORD, again) == ()
    assert refused(()) == refused((), frozenset()) == ()


@pytest.mark.parametrize("path", sorted(NOT_COMPARED))
def test_fields_left_out_make_no_difference(path):
    assert differences(RECORD, changed(RECORD, path)) == ()


def test_rounds_and_results_make_no_difference():
    fresh = dataclasses.replace(RECORD, rounds=(), warm_up_seconds=None, diagnosis="other")
    assert differences(RECORD, fresh) == ()


def test_all_differences_are_found_in_the_order_of_the_table():
    record = RECORD
    for path in reversed(COMPARED):
        record = changed(record, path)
    names = [field.name for field in FIELDS if field.name != "jit_compiled"]  # nothing is chosen
    assert [d.name for d in differences(RECORD, record)] == names
    kept = [d.name for d in refused(differences(RECORD, record), frozenset({"code"}))]
    assert kept == names[:-1]


def on(**fields) -> Record:
    """The record in another environment."""
    return dataclasses.replace(
        RECORD, environment=dataclasses.replace(RECORD.environment, **fields)
    )


@pytest.mark.parametrize(
    ("baseline", "current", "text"),
    [
        (on(tensorflow="2.20.0"), on(tensorflow="2.21.0"), "tensorflow: 2.20.0 -> 2.21.0"),
        (on(driver=None), on(driver="570.1"), "driver: none -> 570.1"),
        (
            on(variables=()),
            on(variables=("OMP_NUM_THREADS=1", "TF_X=2")),
            "variables: none -> OMP_NUM_THREADS=1 TF_X=2",
        ),
        (on(onednn=True), on(onednn=False), "onednn: on -> off"),
        (
            on(code="0123456789ab", commit="fedcba987654"),
            on(code="ba9876543210", commit=None),
            "code: 0123456789ab (commit fedcba987654) -> ba9876543210 (commit unknown)",
        ),
    ],
)
def test_difference_shows_both_values(baseline, current, text):
    assert [str(difference) for difference in differences(baseline, current)] == [text]


def test_a_digest_of_data_is_shortened():
    (difference,) = differences(RECORD, changed(RECORD, "data.digest"))
    assert difference.baseline == RECORD.data.digest[:12]


def test_code_of_schema_version_1_differs_from_known_code():
    (difference,) = differences(on(code="unknown"), on(code="0123456789ab"))
    assert difference.name == "code"
    assert differences(on(code="unknown"), on(code="unknown")) == ()


def test_another_commit_of_the_same_code_is_no_difference():
    assert differences(on(code="a", commit="b"), on(code="a", commit="c")) == ()


def test_stack_is_what_may_vary_by_name():
    assert list(comparability.stack(RECORD)) == list(STACK_NAMES) == NAMES[Part.STACK]
    assert comparability.stack(RECORD)["numpy"] == RECORD.environment.numpy


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("tensorflow", {"tensorflow"}),
        (" TensorFlow , CUDA", {"tensorflow", "cuda"}),
        ("commit", {"code"}),
        ("gpu-driver,tf,GPU-Driver", {"driver", "tensorflow"}),
        (",".join(STACK_NAMES), set(STACK_NAMES)),
    ],
)
def test_names_and_aliases_may_vary(text, names):
    assert parse_vary(text) == names


@pytest.mark.parametrize("text", ["", " ", ",", "cuda,", "cuda,,driver"])
def test_empty_name_is_refused(text):
    with pytest.raises(ValueError, match=r"empty name.*driver, cuda"):
        parse_vary(text)


@pytest.mark.parametrize("name", [*NAMES[Part.MACHINE], *NAMES[Part.WORKLOAD], "environment"])
def test_what_is_no_part_of_the_stack_cannot_vary(name):
    with pytest.raises(ValueError, match=f"unknown part of the stack '{name}'.*Known names: "):
        parse_vary(f"cuda,{name}")


def test_every_unknown_name_is_reported_with_the_nearest_known_one():
    with pytest.raises(ValueError, match=r"'kerass'. Did you mean 'keras'.*'zzz'. Known") as caught:
        parse_vary("kerass,zzz")
    assert ", ".join(STACK_NAMES) in str(caught.value)


def test_variables_that_one_side_does_not_know_are_not_compared():
    for before, now in ((None, ()), ((), None), (None, ("TF_X=1",)), (None, None)):
        assert differences(on(variables=before), on(variables=now)) == ()
    assert differences(on(variables=()), on(variables=("TF_X=1",))) != ()


def test_0_threads_of_older_records_are_one_a_core():
    older, cores = on(intra_op_threads=0, inter_op_threads=0), RECORD.environment.usable_cores
    assert differences(older, on(intra_op_threads=cores, inter_op_threads=cores)) == ()
    (difference,) = differences(older, on(intra_op_threads=cores + 1, inter_op_threads=cores))
    assert str(difference) == f"intra_op_threads: {cores} -> {cores + 1}"
    assert refused((difference,)) == (difference,)
