import dataclasses

from cnnprec.measurement import progress
from cnnprec.measurement.progress import Progress, ProgressLine
from cnnprec.precision.precisions import get_precision
from cnnprec.workload.profiles import TrainingConfig

PROGRESS = Progress(
    precision="single", run=2, runs=3, epoch=4, epochs=5, loss=0.31234, seconds_left=75.0
)


def test_line_says_where_the_training_is_and_how_long_it_will_take():
    assert str(PROGRESS) == "single: run 2/3, epoch 4/5, loss 0.3123, 1 min 15 s left"


def test_time_left_under_a_minute_is_in_seconds():
    assert str(dataclasses.replace(PROGRESS, seconds_left=1.4)).endswith(" 1 s left")


def test_loss_that_is_not_a_number_is_shown_as_such():
    assert "loss nan" in str(dataclasses.replace(PROGRESS, loss=float("nan")))


def test_time_left_is_that_of_all_runs_at_the_pace_so_far(monkeypatch):
    now, shown = [100.0], []
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    # Four steps an epoch, eight a run, 32 in two runs of two precisions.
    line = ProgressLine(shown.append, TrainingConfig("t", 4, 1, epochs=2, runs=2, batch_size=1))
    for run, precision in ((0, "half"), (0, "single")):
        line.start_run(get_precision(precision), run, runs=2, precisions=2)
        now[0] += 16.0
        line.update(1, 8, 0.5)
        now[0] += 3.0  # between the runs; not counted
    assert [str(line) for line in shown] == [
        "half: run 1/2, epoch 2/2, loss 0.5000, 48 s left",
        "single: run 1/2, epoch 2/2, loss 0.5000, 32 s left",
    ]


def test_line_is_not_shown_more_often_than_it_can_be_read(monkeypatch):
    now, shown = [100.0], []
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    line = ProgressLine(shown.append, TrainingConfig("t", 4, 1, epochs=2, runs=1, batch_size=1))
    for turn in range(1, 9):
        now[0] += 0.25
        line.show_turn(turn, 8, now[0] - 100.0)
    assert [progress.turn for progress in shown] == [1, 3, 5, 7]
