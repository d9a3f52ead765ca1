"""The models that are replayed."""

import keras
import pytest

from cnnprec.precision.precisions import PRECISIONS
from cnnprec.training.model import build_model, initial_weights


@pytest.fixture(scope="module")
def models():
    """One model per precision; each test puts its weights back."""
    return {name: build_model(precision) for name, precision in PRECISIONS.items()}


@pytest.fixture(scope="module")
def starts(models):
    return {name: [v.numpy() for v in model.optimizer.variables] for name, model in models.items()}


@pytest.fixture(scope="module")
def weights(models):
    """Drawn once: drawing them takes as long as a step."""
    return {name: initial_weights(model, seed=12) for name, model in models.items()}


@pytest.fixture
def fresh(models, starts, weights):
    def reset(name: str) -> keras.Sequential:
        model = models[name]
        for variable, value in zip(model.trainable_variables, weights[name], strict=True):
            variable.assign(value)
        for variable, value in zip(model.optimizer.variables, starts[name], strict=True):
            variable.assign(value)
        if PRECISIONS[name].loss_scaling:
            # Far below the scale at which healthy gradients of these images overflow.
            model.optimizer.dynamic_scale.assign(256)
        return model

    return reset
