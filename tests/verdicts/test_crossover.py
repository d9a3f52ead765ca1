"""Where a precision overtakes single."""

import dataclasses

import pytest

from cnnprec.verdicts.recommend import crossover, over_reference
from tests.support.studies import line


@pytest.mark.parametrize(
    ("ratios", "batch"),
    [
        ({32: 1.4, 128: 1.1, 512: 0.9, 2048: 0.7}, 512),
        ({32: 0.9, 128: 0.9}, 32),
        ({32: 1.4, 128: 1.1}, None),
        ({32: 0.8, 128: 1.2, 512: 0.9}, 512),  # faster at 32 too, but not from there on
        ({32: 0.8, 128: 1.2}, None),
        ({32: 1.2, 128: 0.999}, None),  # less than the noise
        ({}, None),
    ],
)
def test_crossover_is_the_smallest_batch_from_which_on_all_are_shown_to_be_faster(ratios, batch):
    assert crossover(line(ratios=ratios), "mixed_half", 1) == batch


def test_point_that_does_not_fit_decides_nothing():
    study = line(ratios={32: 1.4, 128: 0.9, 512: 0.9})
    points = tuple(
        dataclasses.replace(p, step_seconds=(), missing="too large") if p.batch == 512 else p
        for p in study.points
    )
    assert crossover(dataclasses.replace(study, points=points), "mixed_half", 1) == 128


def test_widths_are_looked_at_apart():
    one, two = line(ratios={32: 1.2}), line(ratios={32: 0.8}, width=2)
    study = dataclasses.replace(one, points=one.points + two.points)
    assert [crossover(study, "mixed_half", width) for width in (1, 2)] == [None, 32]


def test_ratio_is_paired_turn_by_turn():
    study = line(ratios={32: 0.8})
    found = over_reference(study.of(1, 32), "mixed_half")
    assert found.ratio == pytest.approx(0.8)
    assert found.low < 0.8 < found.high
    assert found.count == 10
    assert over_reference(study.of(1, 32), "half") is None
    assert over_reference({}, "half") is None
