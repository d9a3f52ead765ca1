"""The replay names the place of a planted fault."""

import itertools
from collections.abc import Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cnnprec.diagnosis.causes import diagnose
from cnnprec.diagnosis.replay import Sighting, replay
from tests.support.plants import LAYERS, Plant, batches
from tests.training.test_trainer import TRAINABLE

KINDS = ["nan", "inf", "-inf"]


def first_sighting(reports) -> Sighting | None:
    for report in reports:
        if report.bad:
            return report.bad[0]
    return None


PLACES = [
    *((layer, "activation") for layer in LAYERS),
    # Behind dense2 comes the loss, which is no layer; before it the images, which are integers.
    *((layer, "activation gradient") for layer in LAYERS[1:-1]),
]


def plants_of(name: str) -> Iterator[tuple[tuple[str, str], str, int]]:
    """Place, kind and step of the plants of a precision.

    Together those of all precisions are each kind in each place once, 48 in all.
    """
    for (row, place), (column, kind) in itertools.product(enumerate(PLACES), enumerate(KINDS)):
        if (row + column) % len(TRAINABLE) == TRAINABLE.index(name):
            yield place, kind, row // 2 % 2


def apply_in_a_graph(model, monkeypatch):
    """Lets the optimizer run as it does in training; eagerly it takes half of a step's time."""
    apply, variables = model.optimizer.apply_gradients, model.trainable_variables
    graph = tf.function(lambda gradients: apply(zip(gradients, variables, strict=True)))
    monkeypatch.setattr(
        model.optimizer, "apply_gradients", lambda pairs: graph([g for g, _ in pairs])
    )


@pytest.mark.parametrize("name", TRAINABLE)
def test_plant_is_named_by_step_layer_and_tensor(name, fresh, tiny_data, monkeypatch):
    apply_in_a_graph(fresh(name), monkeypatch)

    @settings(max_examples=max(2, settings().max_examples // 10))
    @given(
        place=st.sampled_from(PLACES),
        step=st.integers(0, 1),
        element=st.integers(0, 10**6),
        kind=st.sampled_from(KINDS),
    )
    def check(place, step, element, kind):
        layer, tensor = place
        model = fresh(name)
        with Plant(model, step, layer, tensor, element, float(kind)) as plant:
            found = first_sighting(replay(model, plant.count(batches(tiny_data, 2, size=2))))
        assert (found.step, found.layer, found.tensor) == (step, layer, tensor)
        assert found.nan == (kind == "nan")
        assert found.infinite == (kind in ("inf", "-inf"))

    for number, (place, kind, step) in enumerate(plants_of(name)):
        check = example(place=place, step=step, element=7919 * number, kind=kind)(check)
    check()


@pytest.mark.parametrize("name", TRAINABLE)
def test_healthy_training_shows_nothing(name, fresh, tiny_data):
    reports = list(replay(fresh(name), batches(tiny_data, 4)))
    assert [report.bad for report in reports] == [()] * 4
    assert diagnose(reports) is None
    assert all(report.moved > 0 for report in reports)
    assert not any(report.blew_up or report.frozen for report in reports)


def test_batch_of_finite_float_images_and_labels_at_both_ends_is_accepted(fresh):
    images, labels = np.full((2, 28, 28, 1), 255.0, np.float32), np.array([0, 9])
    (report,) = replay(fresh("single"), [(images, labels)])
    assert report.bad == ()


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_step_of_an_optimizer_without_a_second_moment_has_no_such_figures(policy):
    # Takes three numbers; a tenth of the time that the CNN takes to build.
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, dtype=policy),
            keras.layers.Dense(2, dtype=policy),
            keras.layers.Softmax(dtype="float32"),
        ]
    )
    model.compile(
        keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD(0.5)),
        keras.losses.SparseCategoricalCrossentropy(),
        auto_scale_loss=False,
    )
    model.optimizer.build(model.trainable_variables)
    (report,) = replay(model, [(np.eye(3), np.array([0, 1, 1]))])
    assert report.bad == ()
    assert report.moved > 0
    assert (report.second_moment_zero, report.largest_update) == (None, None)
