import dataclasses

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cnnprec.precision.precisions import (
    ALIASES,
    PRECISIONS,
    format_precisions,
    get_precision,
    parse_precisions,
    rank,
    with_and_without_xla,
)

NAMES = st.lists(st.sampled_from(list(PRECISIONS)), min_size=1, unique=True)


def test_table_holds_each_precision_once_under_its_own_name():
    assert list(PRECISIONS) == [
        "double",
        "single",
        "tf32",
        "half",
        "mixed_half",
        "bfloat16",
        "mixed_bfloat16",
        "half_stable",
        "bfloat16_stable",
    ]
    assert all(row.name == name for name, row in PRECISIONS.items())


@pytest.mark.parametrize(
    ("name", "variable", "compute", "scaling", "tf32"),
    [
        ("double", "float64", "float64", False, False),
        ("single", "float32", "float32", False, False),
        ("tf32", "float32", "float32", False, True),
        ("half", "float16", "float16", False, False),
        ("mixed_half", "float32", "float16", True, False),
        ("bfloat16", "bfloat16", "bfloat16", False, False),
        ("mixed_bfloat16", "float32", "bfloat16", False, False),
        ("half_stable", "float16", "float16", False, False),
        ("bfloat16_stable", "bfloat16", "bfloat16", False, False),
    ],
)
def test_each_row_has_the_types_of_its_name(name, variable, compute, scaling, tf32):
    row = PRECISIONS[name]
    assert (row.variable_dtype, row.compute_dtype) == (variable, compute)
    assert (row.loss_scaling, row.tensor_float_32) == (scaling, tf32)


def test_stable_rows_differ_from_the_plain_ones_by_their_optimizer_alone():
    for name in ("half", "bfloat16"):
        plain, stable = PRECISIONS[name], PRECISIONS[f"{name}_stable"]
        assert stable.optimizer_overrides
        assert dataclasses.replace(stable, name=plain.name, optimizer_overrides=()) == plain


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("fp16", "half"),
        ("float16", "half"),
        ("float32", "single"),
        ("fp32", "single"),
        ("float64", "double"),
        ("mixed_float16", "mixed_half"),
        ("Mixed-Float16", "mixed_half"),
        ("bf16", "bfloat16"),
        ("mixed_bf16", "mixed_bfloat16"),
        (" SINGLE ", "single"),
    ],
)
def test_spellings_of_newcomers_resolve(alias, name):
    assert get_precision(alias).name == name


def test_aliases_lead_to_rows_and_hide_none():
    assert set(ALIASES.values()) <= set(PRECISIONS)
    assert not set(ALIASES) & set(PRECISIONS)


def test_unknown_name_is_refused_with_all_known_names_and_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'single'") as error:
        get_precision("singel")
    assert all(name in str(error.value) for name in PRECISIONS)


def test_all_unknown_names_of_a_list_are_reported_at_once():
    with pytest.raises(ValueError, match="float8") as error:
        parse_precisions("float8,half,int4")
    assert "int4" in str(error.value)


@pytest.mark.parametrize("text", ["", " ", ",", "half,", ",half", "half,,single"])
def test_empty_names_are_refused(text):
    with pytest.raises(ValueError, match="empty name of a precision"):
        parse_precisions(text)


@given(NAMES)
def test_formatting_and_parsing_are_inverse(names):
    rows = tuple(PRECISIONS[name] for name in names)
    assert parse_precisions(format_precisions(rows)) == rows


@given(NAMES, st.data())
def test_repeats_count_once_and_order_is_kept(names, data):
    repeated = names + data.draw(st.lists(st.sampled_from(names)))
    assert [row.name for row in parse_precisions(",".join(repeated))] == names


@given(st.text())
@example("half;single")
@example("\x00")
@example("HALF,fp16")
def test_any_text_gives_rows_or_a_value_error_that_says_what_is_known(text):
    try:
        rows = parse_precisions(text)
    except ValueError as error:
        assert "bfloat16_stable" in str(error)  # noqa: PT017 - both ways out are right
    else:
        assert rows
        assert set(rows) <= set(PRECISIONS.values())


def test_with_xla_each_precision_has_a_second_row_that_differs_by_xla_alone():
    rows = with_and_without_xla(PRECISIONS.values())
    assert rows[::2] == tuple(PRECISIONS.values())
    for plain, compiled in zip(rows[::2], rows[1::2], strict=True):
        assert compiled == dataclasses.replace(plain, name=f"{plain.name}_xla", xla=True)
        assert get_precision(compiled.name.upper()) == compiled
    assert with_and_without_xla(rows) == rows
    assert sorted([*rows[5:], *rows[:5]], key=lambda row: rank(row.name)) == list(rows)
