import dataclasses

from cnnprec.measurement.progress import Progress

PROGRESS = Progress(
    precision="single",
    run=2,
    runs=3,
    epoch=4,
    epochs=5,
    loss=0.31234,
    seconds_per_step=0.1,
    steps_left=750,
)


def test_line_says_where_the_training_is_and_how_long_it_will_take():
    assert str(PROGRESS) == "single: run 2/3, epoch 4/5, loss 0.3123, 1 min 15 s left"


def test_time_left_is_not_guessed_before_a_step_was_timed():
    assert str(dataclasses.replace(PROGRESS, seconds_per_step=None)).endswith("loss 0.3123")


def test_time_left_under_a_minute_is_in_seconds():
    assert str(dataclasses.replace(PROGRESS, steps_left=14)).endswith(" 1 s left")


def test_loss_that_is_not_a_number_is_shown_as_such():
    assert "loss nan" in str(dataclasses.replace(PROGRESS, loss=float("nan")))
