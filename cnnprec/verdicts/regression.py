"""A time given the state of the machine: Bayesian linear regression (docs/comparing.md)."""

import dataclasses
import math
import statistics
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy

State = Sequence[float]  # how slow the machine was: one or more logarithms of times

SLOPE = 0.8  # prior mean of a slope: how much slower a training is where the calibrators are slower

# Prior weight of a slope, as a sum of squares of the calibrators' logarithms: with this noise the
# prior standard deviation is 0.03 / sqrt(0.004), about 0.5. Far from the baseline's states,
# less noise makes no slope surer.
WEIGHT, NOISE = 0.004, 0.03

_TINY = 1e-18  # variance of sessions that agree to the last digit, because zero has no logarithm


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
    level = statistics.mean(times)  # of equal times it is exactly theirs
    apart = np.subtract(times, level)
    known = np.reshape(states or (), (count, -1))  # no column without states
    means = known.mean(axis=0)
    away = known - means
    spread = away.T @ away + WEIGHT * np.eye(len(means))
    slopes = np.linalg.solve(spread, away.T @ apart + WEIGHT * SLOPE)
    left = apart - away @ slopes
    squares = math.fsum(left**2) + WEIGHT * math.fsum((slopes - SLOPE) ** 2)
    line = tuple(means.tolist()), tuple(slopes.tolist())
    return Regression(count, level, *line, spread, squares / freedom, freedom)


def moderate(variances: Sequence[float], freedom: float) -> tuple[tuple[float, ...], float]:
    """Draws variances, of so many degrees of freedom, towards their common value; returns both.

    Where they resemble each other, a weighted mean of a precision's own and the common one is worth
    more degrees of freedom: limma's empirical Bayes (G. K. Smyth, "Linear models and empirical
    Bayes methods", Statistical Applications in Genetics and Molecular Biology 3, 2004). The
    residuals of precisions in one session are correlated, so the variances are worth less than
    independent ones: the degrees of freedom that are borrowed are at most twice a precision's own.
    """
    if len(variances) < 3:
        return tuple(variances), freedom
    digamma, polygamma = scipy.special.digamma, scipy.special.polygamma
    logs = np.log(np.maximum(variances, _TINY)) - digamma(freedom / 2) + math.log(freedom / 2)
    excess = float(logs.var(ddof=1) - polygamma(1, freedom / 2))
    half = freedom  # of the degrees that are borrowed, the x with trigamma(x) = excess
    if excess > 0:
        half = 0.5 + 1 / excess
        for _ in range(10):  # of Newton's method on 1 / trigamma (Smyth, appendix)
            trigamma = polygamma(1, half)
            half += trigamma * (1 - trigamma / excess) / polygamma(2, half)
        half = min(half, freedom)
    common = math.exp(logs.mean() + digamma(half) - math.log(half))
    total = 2 * half + freedom
    return tuple((2 * half * common + freedom * v) / total for v in variances), total
