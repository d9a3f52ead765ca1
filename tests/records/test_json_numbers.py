"""Numbers that JSON does not have, as words."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnprec.records.json_numbers import decode, encode

WORDS = ("nan", "inf", "-inf")
# A text that is one of the words is read back as the number: it is left out of what comes back.
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text().filter(lambda text: text not in WORDS)
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner)
)


def decode_all(value):
    if isinstance(value, dict):
        return {key: decode_all(item) for key, item in value.items()}
    return [decode_all(item) for item in value] if isinstance(value, list) else decode(value)


@given(VALUES)
def test_every_value_comes_back_through_json_that_any_reader_accepts(value):
    text = json.dumps(encode(value), allow_nan=False)
    # NaN is not equal to itself, but its repr is; the repr also tells 1, 1.0, True and -0.0 apart.
    assert repr(decode_all(json.loads(text))) == repr(value)


@pytest.mark.parametrize(
    ("value", "word"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")]
)
def test_number_that_json_does_not_have_is_a_word_and_back(value, word):
    assert encode(value) == word
    assert repr(decode(word)) == repr(value)


def test_figures_that_are_not_finite_are_kept_as_strings():
    assert encode({"a": [float("inf"), float("nan")], "b": (1.5, "x", None)}) == {
        "a": ["inf", "nan"],
        "b": [1.5, "x", None],
    }


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-nan", "+inf", "", "1.5", 0, None, True])
def test_what_is_no_such_word_stays_as_it_is(value):
    assert decode(value) is value


def test_what_is_encoded_is_left_as_it_was():
    value = {"a": [math.inf, {"b": 1.0}]}
    encode(value)
    assert value == {"a": [math.inf, {"b": 1.0}]}
