"""The statistics of times that everything else rests on.

The unit is one session, a fresh process (docs/comparing.md). Its figure is the logarithm of the
`geometric_mean` of its rounds, or of the `fastest_third` of its turns, in any one unit of time.
"""

import functools
import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np
import scipy  # which loads `scipy.special`, half a second, where it is first used

LEVEL = 0.05  # family-wise error of one comparison

# Below this a difference of logarithms is rounding, not time. Logarithms of float64 are below 746,
# so their error is below 2**-43. A difference of two ratios is made of four of them: 2**-41.
ROUNDING = 2.0**-40

EXACT_PAIRS = 12  # up to so many pairs `sign_flip` goes through all 2**n assignments
FLIPS = 9_999  # random ones above: a p value of 0.05 has a standard error of 0.0022


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean of one or more times, in their unit and never outside their range."""
    mean = or_infinite(math.exp, statistics.fmean(map(math.log, values)))
    return min(max(min(values), mean), max(values))


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
    return statistics.stdev(logs) / (share * math.sqrt(len(logs))) if len(logs) > 1 else 0.0


@functools.lru_cache(maxsize=1024)
def t_quantile(probability: float, freedom: float) -> float:
    """A quantile of Student's t distribution."""
    return float(scipy.special.stdtrit(freedom, probability))


def or_infinite(function: Callable[[float], float], value: float) -> float:
    """The function's value; infinity where it is too large for float64."""
    try:
        return function(value)
    except OverflowError:
        return math.inf


def sign_flip(differences: Sequence[float]) -> float:
    """The p value of the one-sided permutation test of "not above zero", of 1 difference or more.

    The share of the 2**n assignments of signs whose sum is at least the sum seen (Fisher, "The
    Design of Experiments", section 21). Above `EXACT_PAIRS` differences, `FLIPS` assignments are
    drawn with a fixed seed and p is ``(1 + hits) / (1 + FLIPS)`` (Phipson and Smyth, "Permutation
    P-values Should Never Be Zero", 2010). Sums that are zero but for rounding count as zero.
    """
    values = np.sort(np.asarray(differences, dtype=np.float64))
    largest = np.abs(values).max()
    if largest == 0:
        return 1.0
    # In units of the largest no sum overflows.
    scaled = values / largest
    # n roundings (of the unit and of n - 1 additions), each at most eps / 2 of the sum of the
    # sizes; twice that covers the products of these errors.
    rounding = len(values) * float(np.finfo(np.float64).eps) * float(np.abs(scaled).sum())
    if len(values) <= EXACT_PAIRS:
        kept = np.indices((2,) * len(values)).reshape(len(values), -1)
        return float(np.mean(scaled @ kept <= rounding))
    kept = np.random.default_rng(0).integers(0, 2, size=(len(values), FLIPS))
    return (1 + int(np.count_nonzero(scaled @ kept <= rounding))) / (1 + FLIPS)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """The p values adjusted for being k at once, in the order given.

    Rejecting what is below a level then has a family-wise error of at most that level (Holm, "A
    Simple Sequentially Rejective Multiple Test Procedure", 1979).
    """
    ranking = np.argsort(p_values)
    counts = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[ranking] = np.maximum.accumulate(np.minimum(1, counts * np.asarray(p_values)[ranking]))
    return tuple(adjusted.tolist())
