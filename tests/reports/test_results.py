import dataclasses
import math

import pytest
from hypothesis import given

from cnnprec.machine.gpu_state import GpuState
from cnnprec.records.record import DataInfo, Outcome, Record
from cnnprec.reports.results import explain, results, step_seconds
from tests.support.records import a_round, record
from tests.support.strategies import RECORDS


def row(records, precision) -> list[str]:
    lines = results(records)
    table = lines[next(i for i, line in enumerate(lines) if line.startswith("precision ")) :]
    return next(line for line in table if line.startswith(precision + " ")).split()


def test_row_holds_the_figures_worked_out_by_hand():
    # 20 steps of 32 images; times 1 s and 3 s: mean 2 s, standard deviation sqrt(2).
    assert row(
        [record(rounds=(a_round(1.0, accuracy=0.8), a_round(3.0, accuracy=0.9)))], "single"
    ) == [
        *("single", "trained"),
        *("2.00", "±", "1.41"),
        "100.00",
        "320",
        "1.00",
        "1.5",
        *("85.0", "±", "7.1"),
        "-",
    ]


def test_memory_of_the_process_is_shown_once_on_a_cpu_and_by_precision_on_a_gpu():
    def measured(kind):
        environment = dataclasses.replace(record().environment, device_kind=kind)
        big = dataclasses.replace(a_round(), peak_memory_bytes=900_000_000)
        return [
            record("single", environment=environment),
            record("half", (big, a_round()), environment=environment),
        ]

    lines = results(measured("cpu"))
    assert not any("peak MB" in line for line in lines)
    assert "\n".join(lines).count("Peak memory of the process, with all models in it: 900 MB") == 1
    assert [row(measured("gpu"), name)[-1] for name in ("single", "half")] == ["800", "900"]


def test_energy_is_shown_by_epoch_and_image_where_it_is_told():
    # Runs of 2 epochs of 320 images: 96 J of 640 images, the mean of 64 J and 128 J.
    rounds = tuple(dataclasses.replace(a_round(), joules=joules) for joules in (64.0, 128.0, None))
    found = [record("single", rounds), record("half")]
    lines = results(found)
    assert "Energy is that of the whole device." in "\n".join(lines)
    assert row(found, "single")[9:11] == ["48", "150"]
    assert row(found, "half")[9:11] == ["-", "-"]


def test_energy_that_is_not_told_has_no_column_and_is_said():
    lines = results([record()])
    assert not any("J/epoch" in line for line in lines)
    assert "Energy was not told." in "\n".join(lines)


def test_time_of_the_session_is_told_by_stage_as_the_last_record_has_it():
    early, late = (
        dataclasses.replace(record(name), stages=(("loading", 4.2), ("runs", 30.0), ("numbers", n)))
        for name, n in (("single", 1.0), ("half", 5.9))
    )
    told = "Seconds of this session: 40: loading 4, runs 30, numbers 6."
    assert "\n".join(results([late, early])).count(told) == 1
    assert not any("Seconds of this session" in line for line in results([record()]))


def test_loss_scales_are_shown_from_the_smallest_to_the_largest():
    def scaled(*scales):
        rounds = [a_round(loss_scales=((0, s),), seed=i) for i, s in enumerate(scales)]
        return row([record("mixed_half", tuple(rounds))], "mixed_half")[-1]

    assert (scaled(16.0, 2.0, 4.0), scaled(8.0, 8.0)) == ("2-16", "8")


def test_ratio_is_the_time_over_that_of_single():
    rows = [record("double", (a_round(4.0),)), record("single", (a_round(2.0),))]
    assert row(rows, "double")[5] == "2.00"
    assert row(rows, "single")[5] == "1.00"


def test_ratio_is_left_open_without_single():
    assert row([record("double", (a_round(4.0),))], "double")[5] == "-"


def test_times_are_left_open_where_timing_was_disabled():
    bare = record(rounds=(a_round(None),), warm_up_seconds=None)
    assert step_seconds(bare) is None
    assert row([bare], "single")[2:7] == ["-"] * 5


def test_rows_come_in_the_order_of_the_table_whatever_the_order_of_measuring():
    names = ["half", "double", "mixed_half", "single"]
    lines = results([record(name) for name in names])
    start = next(i for i, line in enumerate(lines) if line.startswith("precision "))
    first_words = [line.split()[0] for line in lines[start:] if line]
    assert [word for word in first_words if word in names] == [
        "double",
        "single",
        "half",
        "mixed_half",
    ]


def test_columns_are_aligned():
    lines = results([record("double"), record("bfloat16_stable")])
    start = next(i for i, line in enumerate(lines) if line.startswith("precision"))
    assert len({len(line) for line in lines[start : start + 3]}) == 1


def test_no_records_give_no_lines():
    assert results([]) == []


def test_synthetic_data_are_named_loudly():
    lines = results([record(data=DataInfo("synthetic", "generated", "0" * 64))])
    (line,) = [line for line in lines if line.startswith("data:")]
    assert "SYNTHETIC" in line
    assert "SYNTHETIC" not in "\n".join(results([record()]))


def test_interrupted_precision_says_how_many_runs_it_has():
    assert "single: only 1 of 2 runs were finished." in results([record(rounds=(a_round(),))])
    assert not any("only" in line for line in results([record()]))
    untimed = record(rounds=(a_round(None),))  # --benchmark-disable asks for one
    assert not any("only" in line for line in results([untimed]))


def test_trained_precision_needs_no_sentence():
    assert explain(record()) is None


def test_diverged_precision_says_at_which_steps():
    bad = [
        a_round(outcome=Outcome.DIVERGED, loss=math.nan, accuracy=0.1, first_bad_step=step)
        for step in (4, 3)
    ]
    assert explain(record("half", tuple(bad))) == (
        "half diverged in 2 of 2 runs: the loss was first not finite at step 3 to 4 "
        "(counted from 0, of 20)."
    )


def test_divergence_in_the_last_update_is_told_from_one_in_a_loss():
    last = a_round(outcome=Outcome.DIVERGED)
    assert "a weight was not finite at the end" in explain(record("half", (last,)))


def test_frozen_precision_says_so_and_where_the_loss_stayed():
    text = explain(record("bfloat16", (a_round(outcome=Outcome.FROZEN, loss=2.3026),)))
    assert text.startswith("bfloat16 froze in 1 of 1 runs")
    assert "2.3026" in text


def test_precision_that_does_not_learn_says_so_and_how_far_it_came():
    runs = (a_round(outcome=Outcome.NOT_LEARNING, accuracy=0.097), a_round())
    text = explain(record("single", runs))
    assert text.startswith("single did not learn in 1 of 2 runs")
    assert "9.7% no better than guessing" in text


def test_cause_follows_where_it_is_known():
    bad = (a_round(outcome=Outcome.DIVERGED, first_bad_step=3),)
    assert explain(record("half", bad, diagnosis="epsilon is subnormal")).endswith(
        " Why: epsilon is subnormal."
    )
    assert "Why" not in explain(record("half", bad))


def test_mixed_outcomes_are_all_told():
    both = (
        a_round(outcome=Outcome.DIVERGED, first_bad_step=3),
        a_round(outcome=Outcome.FROZEN),
        a_round(),
    )
    text = explain(record("half", both))
    assert "diverged in 1 of 3" in text
    assert "froze in 1 of 3" in text
    assert row([record("half", both)], "half")[1] == "diverged/frozen/trained"


@given(RECORDS)
def test_every_record_with_a_round_can_be_shown(some):
    if some.rounds:
        assert any(line.startswith(some.precision.name) for line in results([some]))


def test_gpu_is_named_with_its_driver():
    gpu = dataclasses.replace(
        record().environment, device_kind="gpu", device_model="NVIDIA H200", driver="580.1"
    )
    assert "NVIDIA H200, driver 580.1" in "\n".join(results([record(environment=gpu)]))


def many(outcome=Outcome.TRAINED) -> list[Record]:
    names = ("double", "single", "half", "mixed_half", "bfloat16", "mixed_bfloat16")
    rounds = (a_round(outcome=outcome, accuracy=0.8), a_round(accuracy=0.9, seed=13))
    return [record(name, rounds) for name in (*names, "half_stable", "bfloat16_stable")]


def table(lines: list[str]) -> list[str]:
    start = next(i for i, line in enumerate(lines) if line.startswith("precision "))
    return lines[start : start + 1 + len(many())]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_no_line_is_wider_than_the_terminal_and_no_row_is_broken(width):
    lines = results(many(), width)
    assert max(map(len, lines)) <= width
    assert [line.split()[0] for line in table(lines)[1:]] == [r.precision.name for r in many()]


def test_columns_are_dropped_in_order_and_all_are_there_at_100_and_in_a_file():
    headings = table(results(many()))[0].split()
    assert headings == [
        *("precision", "outcome", "s/run", "ms/step", "images/s", "/single", "warm-up"),
        *("accuracy", "%", "loss", "scale"),
    ]
    assert table(results(many(), 100)) == table(results(many()))
    assert not {"images/s", "warm-up"} & set(table(results(many(), 80))[0].split())
    narrow = table(results(many(Outcome.DIVERGED), 60))[0].split()
    assert narrow == ["precision", "outcome", "/single", "accuracy", "%"]


def test_answer_and_table_fill_no_more_than_a_screen():
    lines = results(many(), 80)
    # A screen of 24 lines, less pytest's last line and the prompt.
    assert len(lines) - lines.index(table(lines)[0]) <= 22


def test_disturbed_session_says_so_first():
    disturbed = record("half", (a_round(1.8), a_round(26.0), a_round(1.9)))
    assert results([disturbed, record("single", (a_round(1.0), a_round(1.1)))])[0] == (
        "DISTURBED: half was slow in 1 of 3 times, up to 26.00 s instead of 1.80 s. Measure again "
        "when nothing else runs."
    )
    assert results([record("half", (a_round(1.8), a_round(1.9)))])[0].startswith("data:")


def test_what_the_gpu_gives_notice_of_stands_above():
    state = GpuState((), 0, (), 50, 1900, 300.0, new_corrected_errors=1)
    noted = record("half", (dataclasses.replace(a_round(1.8), state=state),))
    assert results([noted])[0] == (
        "NOTICE: the GPU corrected 1 memory error during the measurement; watch whether they grow"
    )


def test_answer_says_what_it_saves_what_not_to_use_and_what_to_type():
    records = [
        record("single", tuple(a_round(2.0, seed=i) for i in range(3))),
        record("mixed_bfloat16", tuple(a_round(1.0, seed=i) for i in range(3))),
        record("bfloat16", (a_round(1.0, outcome=Outcome.FROZEN, seed=0),)),
    ]
    assert results(records)[-3:] == [
        "Use mixed_bfloat16 (provisional): 0.50 of the time of single (0.50 to 0.50, 90 % "
        "interval); its weights take as much memory as single's. Its accuracy is not shown to be "
        "worse: +0.0 percentage points (+0.0 to +0.0, 3 paired seeds); a loss of 1 point is "
        "excluded.",
        "Not bfloat16 (did not train in every run).",
        "Decide: pytest benchmarks/ --precision single,mixed_bfloat16 --runs 10",
    ]
