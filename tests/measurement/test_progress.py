from cnnprec.measurement import progress
from cnnprec.measurement.progress import ProgressLine
from cnnprec.precision.precisions import get_precision
from cnnprec.workload.profiles import TrainingConfig


def shown_after(monkeypatch, seconds: float, loss: float = 0.31234) -> str:
    """The line after 15 of 60 steps that took so many seconds: three times as many are left."""
    now, shown = [100.0], []
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    line = ProgressLine(shown.append, TrainingConfig("t", 4, 1, epochs=5, runs=3, batch_size=1))
    line.start_run(get_precision("single"), 1, runs=3, precisions=1)
    now[0] += seconds
    line.update(3, 15, loss)
    return shown[0]


def test_line_says_where_the_training_is_and_how_long_it_will_take(monkeypatch):
    text = "single: run 2/3, epoch 4/5, loss 0.3123, 1 min 15 s left"
    assert shown_after(monkeypatch, 25.0) == text


def test_time_left_under_a_minute_is_in_seconds(monkeypatch):
    assert shown_after(monkeypatch, 0.47).endswith(" 1 s left")


def test_loss_that_is_not_a_number_is_shown_as_such(monkeypatch):
    assert "loss nan" in shown_after(monkeypatch, 25.0, loss=float("nan"))


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
    assert shown == [
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
    assert [text.split("/")[0] for text in shown] == ["turn 1", "turn 3", "turn 5", "turn 7"]
