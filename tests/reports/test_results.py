import dataclasses
import math

from hypothesis import given

from cnnprec.records.record import DataInfo, Outcome, Record
from cnnprec.reports.results import explain, results, step_seconds
from tests.support.records import a_round, record
from tests.support.strategies import RECORDS


def row(records, precision) -> list[str]:
    line = next(line for line in results(records) if line.startswith(precision + " "))
    return line.split()


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
        *("0.8500", "±", "0.0707"),
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
    first_words = [line.split()[0] for line in lines if line]
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
    assert "SYNTHETIC" in lines[0]
    assert "SYNTHETIC" not in results([record()])[0]


def test_interrupted_precision_says_how_many_runs_it_has():
    assert "single: only 1 of 2 runs were finished." in results([record(rounds=(a_round(),))])
    assert not any("only" in line for line in results([record()]))


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
    assert "NVIDIA H200, driver 580.1" in results([record(environment=gpu)])[2]


def seeds(precision: str, accuracies: list[float]) -> Record:
    rounds = tuple(a_round(accuracy=a, seed=12 + i) for i, a in enumerate(accuracies))
    return record(precision, rounds)


def test_accuracy_is_compared_with_single_where_ten_seeds_ran():
    single = [0.90, 0.91, 0.89, 0.90, 0.92, 0.90, 0.91, 0.89, 0.90, 0.91]
    alike = [a + 0.001 * (-1) ** i for i, a in enumerate(single)]
    lines = results([seeds("single", single), seeds("double", alike)])
    (line,) = [line for line in lines if line.startswith("double: accuracy")]
    assert "10 paired seeds): equivalent within 1 point." in line
    worse = [a - 0.02 for a in alike]
    lines = results([seeds("single", single), seeds("double", worse)])
    (line,) = [line for line in lines if line.startswith("double: accuracy -2.00 perc")]
    assert "not shown to be equivalent" in line


def test_fewer_seeds_make_no_claim_on_accuracy():
    lines = results([seeds("single", [0.9] * 9), seeds("double", [0.9] * 9)])
    assert not any("against single" in line for line in lines)
