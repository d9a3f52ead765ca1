"""The statistics of times that everything else rests on.

The unit is one session, a fresh process (docs/comparing.md). Its figure is the logarithm of the
`geometric_mean` of its rounds, or of the `fastest_third` of its turns, in any one unit of time.
"""

import functools
import math
from collections.abc import Callable, Sequence

import scipy  # which loads `scipy.special`, half a second, where it is first used

LEVEL = 0.05  # family-wise error of one comparison

# Below this a difference of logarithms is rounding, not time. Logarithms of float64 are below 746,
# so their error is below 2**-43. A difference of two ratios is made of four of them: 2**-41.
ROUNDING = 2.0**-40


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean of one or more times, in their unit and never outside their range."""
    ordered = sorted(values)
    mean = math.fsum(map(math.log, ordered)) / len(ordered)
    return min(max(ordered[0], or_infinite(math.exp, mean)), ordered[-1])


def fastest_third(values: Sequence[float]) -> list[float]:
    """The smallest third of one or more times, rounded up: what other work disturbed the least."""
    return sorted(values)[: (len(values) + 2) // 3]


def standard_error(values: Sequence[float], share: float = 1.0) -> float:
    """How well times tell the logarithm of their geometric mean: 0.02 is 2 %, of one time it is 0.

    The standard deviation of their logarithms (divisor n - 1) over the root of n, as if they were
    independent. Rounds of one process are not quite, so it is the least that it can be. Where the
    values are the fastest `share` of their rounds, the others are taken as equal to the slowest of
    them and the error is divided by the share (R. R. Wilcox, "Introduction to Robust Estimation
    and Hypothesis Testing", section 3.3.1: the trimmed mean).
    """
    logs = sorted(math.log(value) for value in values)
    logs += logs[-1:] * (round(len(logs) / share) - len(logs))
    return moments(logs)[1] / (share * math.sqrt(len(logs))) if len(logs) > 1 else 0.0


@functools.lru_cache(maxsize=1024)
def t_quantile(probability: float, freedom: float) -> float:
    """A quantile of Student's t distribution."""
    return float(scipy.special.stdtrit(freedom, probability))


def moments(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (divisor n - 1) of at least 2 values, in any order.

    Equal values have themselves as mean and exactly 0 as deviation.
    """
    ordered = sorted(values)
    above = [value - ordered[0] for value in ordered]
    mean = math.fsum(above) / len(above)
    deviation = math.hypot(*(value - mean for value in above)) / math.sqrt(len(above) - 1)
    return ordered[0] + mean, deviation


def or_infinite(function: Callable[[float], float], value: float) -> float:
    """The function's value; infinity where it is too large for float64."""
    try:
        return function(value)
    except OverflowError:
        return math.inf
