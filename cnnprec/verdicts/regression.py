"""A time given the state of the machine: Bayesian linear regression with one slope.

The logarithm of a session's time is a line in the logarithm of its calibrators' time, plus noise.
The slope has a prior, because a few sessions that met one state of the machine say nothing about
it; the level and the size of the noise have none. The prediction has Student's t distribution with
n - 1 degrees of freedom, exactly so if the prior holds (Gelman et al., "Bayesian Data Analysis",
third edition, sections 14.2 and 14.8). docs/comparing.md says where the prior comes from.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from cnnprec.verdicts.statistics import checked_count, moments

SLOPE = 0.8
"""Prior mean of the slope: how much slower a training is where the calibrators are slower."""

WEIGHT = 0.004
"""Prior weight of the slope, as a sum of squares of the calibrators' logarithms: with noise of 3 %
the prior standard deviation is 0.03 / sqrt(0.004), about 0.5."""


@dataclasses.dataclass(frozen=True)
class Regression:
    """A line through sessions, or their mean where the machine's state is not known.

    Attributes:
        count: Number n of sessions.
        level: Mean of the logarithms of their times.
        state: Mean of the logarithms of their calibrators' times; None where these are not used.
        slope: Posterior mean of the slope; 0 without calibrators.
        spread: Sum of squares of the calibrators' logarithms about their mean, with the prior's.
        residuals: Sum of squares of what the line leaves, with the prior's.
    """

    count: int
    level: float
    state: float | None
    slope: float
    spread: float
    residuals: float

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the noise."""
        return self.count - 1

    @property
    def variance(self) -> float:
        """Estimated variance of a session about the line."""
        return self.residuals / self.freedom

    def at(self, state: float | None) -> float:
        """The expected logarithm of the time in this state of the machine."""
        return self.level + self.slope * self._away(state)

    def leverage(self, state: float | None) -> float:
        """Variance of `at` in this state, in units of the noise's."""
        away = self._away(state)
        return 1 / self.count + (away * away / self.spread if away else 0.0)

    def _away(self, state: float | None) -> float:
        return 0.0 if self.state is None or state is None else state - self.state


def fit(times: Sequence[float], states: Sequence[float] | None) -> Regression:
    """Fits the line.

    Args:
        times: Logarithms of the sessions' times, at least 2.
        states: Logarithms of their calibrators' times, in the same order; None to do without.

    Raises:
        ValueError: There are fewer than 2 sessions.
    """
    count = checked_count(len(times), "sessions")
    level, deviation = moments(times)
    if states is None:
        return Regression(count, level, None, 0.0, 0.0, deviation * deviation * (count - 1))
    apart = [time - level for time in times]
    state, _ = moments(states)
    away = [value - state for value in states]
    spread = math.fsum(x * x for x in away) + WEIGHT
    slope = (math.fsum(x * y for x, y in zip(away, apart, strict=True)) + WEIGHT * SLOPE) / spread
    left = math.fsum((y - slope * x) ** 2 for x, y in zip(away, apart, strict=True))
    residuals = left + WEIGHT * (slope - SLOPE) ** 2
    return Regression(count, level, state, slope, spread, residuals)
