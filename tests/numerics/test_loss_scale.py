"""The check of loss scaling is silent where it works and names what does not."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnnprec.numerics.loss_scale import loss_scale_faults
from cnnprec.precision.precisions import PRECISIONS
from cnnprec.training.model import build_model

SCALER = keras.optimizers.LossScaleOptimizer


def built(optimizer) -> tuple[keras.optimizers.Optimizer, list]:
    variables = [keras.Variable(np.ones(shape, np.float32)) for shape in ([2, 3], [3])]
    optimizer.build(variables)
    return optimizer, variables


@pytest.mark.parametrize(
    ("name", "jit_compile"), [*((name, False) for name in PRECISIONS), ("mixed_half", True)]
)
def test_every_precision_scales_as_it_has_to(name, jit_compile):
    model = build_model(name)
    variables = model.trainable_variables
    assert loss_scale_faults(model.optimizer, variables, jit_compile=jit_compile) == []


def test_scale_of_one_can_be_halved_too():
    assert loss_scale_faults(*built(SCALER(keras.optimizers.Adam(), initial_scale=1.0))) == []


def test_scale_that_never_backs_off_is_named(monkeypatch):
    monkeypatch.setattr(SCALER, "_stateful_handle_non_finite_grads", lambda self: None)
    optimizer, variables = built(SCALER(keras.optimizers.Adam(), initial_scale=1024.0))
    assert loss_scale_faults(optimizer, variables) == [
        "loss scale: 1024 after an infinite gradient, not 512"
    ]


def test_infinite_step_that_is_taken_is_named(monkeypatch):
    monkeypatch.setattr(SCALER, "check_finite", lambda self, grads: tf.constant(True))
    optimizer, variables = built(SCALER(keras.optimizers.SGD(), initial_scale=1024.0))
    found = loss_scale_faults(optimizer, variables)
    assert "loss scale: an infinite gradient changes weights" in found


def test_only_the_first_gradient_being_looked_at_is_named(monkeypatch):
    looked = SCALER.check_finite
    monkeypatch.setattr(SCALER, "check_finite", lambda self, grads: looked(self, grads[:1]))
    optimizer, variables = built(SCALER(keras.optimizers.SGD(), initial_scale=1024.0))
    assert "loss scale: an infinite gradient changes weights" in loss_scale_faults(
        optimizer, variables
    )


def test_scale_that_never_grows_is_named():
    class Constant(SCALER):
        def _stateful_handle_finite_grads(self, grads, trainable_variables):
            self.inner_optimizer.apply(grads, trainable_variables)

    optimizer, variables = built(Constant(keras.optimizers.Adam(), initial_scale=1024.0))
    assert loss_scale_faults(optimizer, variables) == [
        "loss scale: 512 after 2000 finite steps, not 1024"
    ]
