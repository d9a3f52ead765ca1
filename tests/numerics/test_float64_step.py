"""The oracle in NumPy against numerical derivatives."""

import numpy as np

from cnnprec.numerics.float64_step import float64_step

SHAPES = [(3, 3, 1, 32), (32,), (3, 3, 32, 64), (64,), (3, 3, 64, 64), (64,), (576, 64), (64,)]


def test_gradients_are_the_derivatives_of_the_loss():
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=s) / np.sqrt(s[0] * 9) for s in [*SHAPES, (64, 10), (10,)]]
    images, labels = rng.random((4, 28, 28, 1)), np.array([3, 1, 4, 1])
    step = float64_step(weights, images, labels)
    assert np.allclose(step.probabilities.sum(axis=1), 1)
    for place, gradient in enumerate(step.gradients):
        assert gradient.shape == weights[place].shape
        direction = rng.normal(size=gradient.shape)
        losses = []
        for sign in (1, -1):
            moved = [*weights]
            moved[place] = weights[place] + sign * 1e-6 * direction
            losses.append(float64_step(moved, images, labels).loss)
        # Central differences of a loss of about 1: rounding leaves 1e-10, curvature 1e-12. A ReLU
        # or a maximum that changes sides in between leaves more, so the limit is relative.
        slope = (losses[0] - losses[1]) / 2e-6
        assert abs(slope - np.sum(gradient * direction)) <= 1e-4 * max(1, abs(slope))
