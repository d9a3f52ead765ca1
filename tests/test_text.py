"""Words and tables."""

import argparse

import pytest

from cnnprec.text import (
    aligned,
    coloured,
    count_of,
    did_you_mean,
    duration,
    fitted,
    markdown_table,
    parse_time,
    reported,
    wrapped,
)


def test_columns_are_aligned_words_to_the_left_and_numbers_to_the_right():
    rows = [["name", "how", "s"], ["a", "fast", "10.5"], ["long name", "-", "9"]]
    assert aligned(rows) == [
        "name       how      s",
        "a          fast  10.5",
        "long name  -        9",
    ]
    assert aligned([["x", "1"], ["y", "22"]], left=1) == ["x   1", "y  22"]


def test_columns_are_dropped_in_order_until_the_rows_fit():
    rows = [["name", "why", "s"], ["a", "because", "10.5"]]
    assert fitted(rows, 19, ["why", "s"]) == aligned(rows)
    assert fitted(rows, 18, ["why", "s"]) == ["name  s", "a     10.5"]
    assert fitted(rows, 9, ["why", "s"]) == ["name", "a"]
    assert fitted(rows, None, ["why"]) == aligned(rows)
    assert fitted(rows, 9, ["how"]) == aligned(rows)  # nothing that may be dropped is there


def test_sentences_are_broken_between_words_alone():
    assert wrapped("one two-three four", 10) == ["one", "  two-three", "  four"]
    assert wrapped("one two", 7) == wrapped("one two", None) == ["one two"]


def test_words_that_matter_are_coloured_whole():
    assert coloured("half PASS") == "half \033[32mPASS\033[0m"
    assert coloured("half diverged/trained").count("\033[0m") == 2
    assert coloured("PASSED, untrained") == "PASSED, untrained"


def test_markdown_has_a_line_below_the_headings():
    assert markdown_table(["a", "b"], [["1", "2"]]) == ["| a | b |", "|---|---|", "| 1 | 2 |"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (36.4, "36 s"),
        (59.6, "1 min 00 s"),
        (99, "1 min 39 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (9000, "2 h 30 min"),
    ],
)
def test_durations_are_shown_in_a_fitting_unit(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5min", 90), ("2h", 7200)]
)
def test_times_have_a_unit(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "0.0h", "2", "-1h", "1 h", "1d", "1e9s", "9999999999h"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="is not a time above 0: give one such as 90s"):
        parse_time(text)


def test_things_are_counted_in_singular_and_plural():
    assert [count_of(n, "session") for n in (0, 1, 2)] == ["0 sessions", "1 session", "2 sessions"]


def test_a_near_name_is_suggested_and_a_far_one_is_not():
    assert did_you_mean("singel", ["single", "double"]) == " Did you mean 'single'?"
    assert did_you_mean("quux", ["single", "double"]) == ""


def test_a_parsers_own_message_reaches_argparse():
    def refuse(text):
        raise ValueError(f"{text!r} is no number")

    with pytest.raises(argparse.ArgumentTypeError, match="'x' is no number"):
        reported(refuse)("x")
    assert reported(int)("3") == 3
