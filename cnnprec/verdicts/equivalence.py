"""Whether paired differences are zero but for a margin."""

import dataclasses
import math
from collections.abc import Sequence

from cnnprec.verdicts.statistics import LEVEL, moments, t_quantile


@dataclasses.dataclass(frozen=True)
class Equivalence:
    """The mean of paired differences and its interval of confidence 1 - 2 level."""

    mean: float
    low: float
    high: float
    equivalent: bool  # whether the interval lies strictly within plus or minus the margin
    count: int


def equivalence(differences: Sequence[float], margin: float, level: float = LEVEL) -> Equivalence:
    """Tests whether paired differences are zero but for a margin.

    Two one-sided t tests, one against each end of the margin (Schuirmann, 1987), which both reject
    at ``level`` exactly if the interval of confidence 1 - 2 level lies within it. Differences are
    at least 2, of accuracies as fractions of 1, new less old.
    """
    count = len(differences)
    mean, deviation = moments(differences)
    reach = t_quantile(1 - level, count - 1) * deviation / math.sqrt(count)
    low, high = mean - reach, mean + reach
    return Equivalence(mean, low, high, -margin < low and high < margin, count)
