"""The cause that is named for real failures and for planted ones."""

import dataclasses
import math
import re

import numpy as np
import pytest

from cnnprec.diagnosis.causes import diagnose
from cnnprec.diagnosis.replay import StepReport, replay
from tests.support.plants import Plant, batches

REPORT = StepReport(0, (), False, 0.0, 1.0, 1.0, 1.0)


def test_half_is_known_to_blow_up_at_step_0_before_anything_is_not_finite(fresh, tiny_data):
    (report,) = replay(fresh("half"), batches(tiny_data, 1))
    assert report.blew_up
    assert report.bad == ()
    assert diagnose([report]).startswith("Adam's second moment underflowed in ")


def test_bfloat16_is_known_to_freeze_at_step_0_by_its_beta_2(fresh, tiny_data):
    (report,) = replay(fresh("bfloat16"), batches(tiny_data, 1))
    assert report.frozen
    assert report.bad == ()
    assert [finding.hyper_parameter for finding in report.freezing] == ["beta_2"]
    assert diagnose([report]).endswith(
        "% of the weights have a gradient at step 0, and not one of them changed; "
        "beta_2=0.999 is 1 in bfloat16, so every update is zero"
    )


def test_freeze_by_tiny_gradients_is_not_laid_to_a_hyperparameter(fresh, tiny_data, monkeypatch):
    model = fresh("bfloat16_stable")
    for variable in model.trainable_variables:
        sign = np.where(variable.numpy().astype(np.float32) < 0, -1.0, 1.0)
        variable.assign(sign / 8)
    # Weights of 1/8 are 2**-11 apart. An update is at most the learning rate, 2**-10 or
    # less, times g / epsilon. Scaled so, a gradient of 2**20 would not reach epsilon's 2**-24.
    loss = model.loss
    monkeypatch.setattr(model, "loss", lambda labels, out: loss(labels, out) * 2.0**-50)
    diagnosis = diagnose(replay(model, batches(tiny_data, 2)))
    assert diagnosis.endswith("and not one of them changed")


def test_diagnosis_of_half_tells_the_root_and_the_first_bad_tensor(fresh, tiny_data):
    diagnosis = diagnose(replay(fresh("half"), batches(tiny_data, 12)))
    assert re.fullmatch(
        r"Adam's second moment underflowed in \d+% of the weights at step 0; "
        r"the largest update was \d+ times Adam's bound; first bad tensor: step [1-9].*",
        diagnosis,
    )


@pytest.mark.parametrize("kind", ["nan", "inf"])
def test_overflow_that_the_scaler_handles_is_never_called_fatal(fresh, tiny_data, kind):
    model = fresh("mixed_half")
    # Not conv2: the max pooling behind it drops a NaN.
    with Plant(model, 1, "conv3", "activation", 5, float(kind)) as plant:
        reports = list(replay(model, plant.count(batches(tiny_data, 4))))
    assert [report.skipped for report in reports] == [False, True, False, False]
    assert diagnose(reports) is None
    assert reports[1].bad[0].layer == "conv3"


def test_the_same_overflow_without_a_scaler_is_fatal(fresh, tiny_data):
    model = fresh("half_stable")
    with Plant(model, 1, "conv2", "activation", 5, math.inf) as plant:
        diagnosis = diagnose(replay(model, plant.count(batches(tiny_data, 4))))
    assert diagnosis.startswith("first bad tensor: step 1, forward: conv2 activation (1 infinite ")


def test_nan_is_named_where_it_arises(fresh, tiny_data):
    model = fresh("single")
    with Plant(model, 0, "dense1", "activation", 7, math.nan) as plant:
        diagnosis = diagnose(replay(model, plant.count(batches(tiny_data, 2))))
    assert diagnosis.startswith("first bad tensor: step 0, forward: dense1 activation (1 NaN of ")


def test_run_whose_every_step_is_skipped_says_so(fresh, tiny_data):
    model = fresh("mixed_half")
    # At this scale the scaled loss itself is infinite, and ten halvings change nothing.
    model.optimizer.dynamic_scale.assign(2.0**127)
    reports = list(replay(model, batches(tiny_data, 3)))
    assert [report.skipped for report in reports] == [True] * 3
    assert diagnose(reports).startswith(
        "the loss scaler skipped every step of 3; first bad tensor: step 0, gradient: "
    )


def test_run_with_one_applied_step_was_not_always_skipped():
    skipped = dataclasses.replace(REPORT, skipped=True, moved=0.0)
    assert diagnose([skipped, skipped]) == "the loss scaler skipped every step of 2"
    assert diagnose([skipped, REPORT, skipped]) is None
    assert diagnose([]) is None
