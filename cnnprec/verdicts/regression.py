"""A time given the state of the machine: Bayesian linear regression (docs/comparing.md)."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cnnprec.verdicts.statistics import moments

State = Sequence[float]  # how slow the machine was: one or more logarithms of times

SLOPE = 0.8  # prior mean of a slope: how much slower a training is where the calibrators are slower

# Prior weight of a slope, as a sum of squares of the calibrators' logarithms: with this noise the
# prior standard deviation is 0.03 / sqrt(0.004), about 0.5. Far from the baseline's states,
# less noise makes no slope surer.
WEIGHT, NOISE = 0.004, 0.03


@dataclasses.dataclass(frozen=True)
class Regression:
    """A line through n sessions, or their mean where the machine's state is not known."""

    count: int
    level: float  # mean of the logarithms of their times
    state: tuple[float, ...]  # means of their states; empty where these are not used
    slopes: tuple[float, ...]  # posterior means of the slopes, one for each number of a state
    spread: npt.NDArray[np.float64]
    """Sums of products of the states about their means, with the prior's, by state and state."""
    variance: float  # estimated, of a session about the line, with the prior's
    freedom: float  # degrees of freedom of the variance

    def at(self, state: State | None) -> float:
        """The expected logarithm of the time in this state of the machine."""
        return self.level + float(self._away(state) @ np.asarray(self.slopes))

    def leverage(self, state: State | None) -> float:
        """Variance of `at` in this state without that of the level, in units of the noise's."""
        away = self._away(state)
        return float(away @ np.linalg.solve(self.spread, away))

    def _away(self, state: State | None) -> npt.NDArray[np.float64]:
        if not self.state or state is None:
            return np.zeros(len(self.state))
        return np.subtract(state, self.state)


def fit(times: Sequence[float], states: Sequence[State] | None) -> Regression:
    """Fits the line to the logarithms of at least 2 times; None does without the states."""
    count, freedom = len(times), len(times) - 1
    level, deviation = moments(times)
    if not states:
        squares = deviation * deviation * freedom
        return Regression(count, level, (), (), np.zeros((0, 0)), squares / freedom, freedom)
    apart = np.subtract(times, level)
    means = tuple(moments(column)[0] for column in zip(*states, strict=True))
    away = np.subtract(states, means)
    spread = away.T @ away + WEIGHT * np.eye(len(means))
    slopes = np.linalg.solve(spread, away.T @ apart + WEIGHT * SLOPE)
    left = apart - away @ slopes
    variance = float(left @ left + WEIGHT * np.sum((slopes - SLOPE) ** 2)) / freedom
    return Regression(count, level, means, tuple(slopes.tolist()), spread, variance, freedom)
