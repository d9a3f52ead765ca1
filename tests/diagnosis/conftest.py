"""The models that are replayed."""

import functools
from collections.abc import Callable

import keras
import pytest

from cnnprec.precision.precisions import PRECISIONS
from cnnprec.training.model import build_model, initial_weights


@pytest.fixture(scope="session")
def states() -> Callable[[str], tuple]:
    """Of a precision the model, and what its variables hold at the start.

    Building it and drawing its weights takes as long as a step, so both are done once.
    """

    @functools.cache
    def build(name: str) -> tuple:
        model = build_model(name)
        optimizer = [variable.numpy() for variable in model.optimizer.variables]
        return model, initial_weights(model, seed=12), optimizer

    return build


@pytest.fixture(scope="session")
def fresh(states):
    def reset(name: str) -> keras.Sequential:
        model, weights, optimizer = states(name)
        for variable, value in zip(model.trainable_variables, weights, strict=True):
            variable.assign(value)
        for variable, value in zip(model.optimizer.variables, optimizer, strict=True):
            variable.assign(value)
        if PRECISIONS[name].loss_scaling:
            # Far below the scale at which healthy gradients of these images overflow.
            model.optimizer.dynamic_scale.assign(256)
        return model

    return reset
