"""The limits of the device in RESULTS."""

import dataclasses

from cnnprec.reports.limits import limits_table
from cnnprec.reports.results import results, table
from tests.reports.test_results import row
from tests.support.records import a_round, record
from tests.verdicts.test_step_limits import LIMITS

# 20 steps of 10 ms, in which 8.1 ms are needed at the limits.
MEASURED = record(rounds=(a_round(0.2), a_round(0.22)), limits=LIMITS)


def test_share_of_the_limit_is_a_column_only_where_limits_were_measured():
    place = table([MEASURED])[0].index("of limit")
    assert table([MEASURED, record("half")])[1][place] == "0.38"  # 80 MFLOP in 10.5 ms
    assert table([MEASURED, record("half")])[2][place] == "-"
    assert "of limit" not in table([record()])[0]


def test_row_holds_limits_and_stages_worked_out_by_hand():
    assert limits_table([record("half"), MEASURED]) == [
        limits_table([MEASURED])[0],
        ("single", "arithmetic", "0.77", "20", "5", "2", "1.00", "2.00", "4.00", "3.00", "0.00"),
    ]
    slower = dataclasses.replace(MEASURED, rounds=(a_round(0.25),))
    assert limits_table([slower])[1][-1] == "2.50"  # 12.5 ms in a whole training
    untimed = dataclasses.replace(MEASURED, rounds=(a_round(None),))
    assert limits_table([untimed])[1][1:3] == ("-", "-")
    assert limits_table([untimed])[1][-1] == "-"
    assert limits_table([record()]) == []


def test_one_sentence_says_what_bounds_single():
    others = [dataclasses.replace(record(name), limits=LIMITS) for name in ("double", "half")]
    lines = [line for line in results([*others, MEASURED]) if "bound by:" in line or "left" in line]
    assert lines == [
        "single is bound by arithmetic: at the device's limits 77% of its 10.50 ms a step would be "
        "left (arithmetic 6.60, memory 1.00, launches 0.50 ms)."
    ]


def test_bound_is_left_open_where_the_limits_explain_less_than_half():
    slow = dataclasses.replace(MEASURED, rounds=(a_round(0.4),))
    assert any("single is bound by none of these alone: at" in line for line in results([slow]))
    assert limits_table([slow])[1][1:3] == ("-", "0.40")


def test_input_that_takes_half_of_the_step_is_said():
    times = LIMITS.times._replace(input=0.006)
    waiting = dataclasses.replace(MEASURED, limits=dataclasses.replace(LIMITS, times=times))
    assert any(line.endswith("The input takes 6.00 ms.") for line in results([waiting]))
    assert not any("The input takes" in line for line in results([MEASURED]))


def test_time_that_no_device_can_have_is_said_to_be_invalid():
    early = dataclasses.replace(MEASURED, rounds=(a_round(0.02),))
    assert any(line.startswith("INVALID: single: a step computes at") for line in results([early]))
    assert not any(line.startswith("INVALID") for line in results([MEASURED]))


def test_table_fits_a_terminal():
    lines = results([MEASURED], 80)
    assert max(map(len, lines)) <= 80
    assert any("optimizer" in line for line in lines)


def test_other_sessions_show_nothing_of_it():
    assert row([record()], "single")
    assert not any("device's limit" in line for line in results([record()]))
