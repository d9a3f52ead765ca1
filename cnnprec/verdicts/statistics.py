"""The statistics of times that everything else rests on.

The unit is one session, a fresh process. Rounds of one process share its memory layout and its
neighbours on the machine, so they repeat each other; sessions are what varies. The figure of a
session is the logarithm of the `geometric_mean` of its rounds: times are compared by their ratio,
and the spread of machines is a share of the time. Times may be in any one unit.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

# scipy ships no types. The second code keeps mypy quiet where stubs are installed.
from scipy import special  # type: ignore[import-untyped, unused-ignore]

LEVEL = 0.05
"""Family-wise error of one comparison."""

# Below this a difference of logarithms is rounding, not time. Logarithms of float64 are below
# 746 in size and have an error below 2**-43 (one unit in the last place of 746). A difference
# of two ratios is made of four of them: 2**-41.
ROUNDING = 2.0**-40


def geometric_mean(values: Sequence[float]) -> float:
    """Returns the geometric mean of times; no sum overflows.

    Args:
        values: Positive finite times in any one unit, in any order.

    Returns:
        The mean, in the unit of ``values``; never outside their range.

    Raises:
        ValueError: If there is no value, or one is not a positive finite number.
    """
    ordered = sorted(checked_times(values, "times"))
    mean = math.fsum(map(math.log, ordered)) / len(ordered)
    return min(max(ordered[0], or_infinite(math.exp, mean)), ordered[-1])


def standard_error(values: Sequence[float]) -> float:
    """Returns how well times tell the logarithm of their geometric mean.

    This is the standard deviation of their logarithms (divisor n - 1) over the root of n, as
    if they were independent. Rounds of one process are not quite, so it is the least that it
    can be.

    Args:
        values: Positive finite times in any one unit, in any order.

    Returns:
        A relative error: 0.02 is 2 %. One time alone tells nothing of it: 0.

    Raises:
        ValueError: If there is no value, or one is not a positive finite number.
    """
    logs = [math.log(value) for value in checked_times(values, "times")]
    return moments(logs)[1] / math.sqrt(len(logs)) if len(logs) > 1 else 0.0


@functools.lru_cache(maxsize=1024)
def t_quantile(probability: float, freedom: float) -> float:
    """A quantile of Student's t distribution."""
    return float(special.stdtrit(freedom, probability))


def moments(values: Sequence[float]) -> tuple[float, float]:
    """Returns mean and standard deviation (divisor n - 1).

    Both are taken from the smallest value, in order: equal values then have themselves as
    mean and exactly 0 as deviation, the mean is never below the smallest, and the order given
    does not matter to the last bit.
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


def checked_times(values: Sequence[float], what: str) -> list[float]:
    """The times as floats.

    Raises:
        ValueError: There is none, or one is not a positive finite number.
    """
    if len(values) == 0:
        raise ValueError(f"{what}: there are none; give at least one positive time")
    for value in values:
        if not (math.isfinite(value) and value > 0):
            raise ValueError(
                f"{what}: {value} is not a positive finite number; leave out what has no time"
            )
    return [float(value) for value in values]


def checked_finite(values: Sequence[float]) -> list[float]:
    """The differences as floats.

    Raises:
        ValueError: There is none, or one is not finite.
    """
    if len(values) == 0:
        raise ValueError("differences: there are none; give at least one finite number")
    for value in values:
        if not math.isfinite(value):
            raise ValueError(f"difference {value} is not a finite number; leave out that pair")
    return [float(value) for value in values]


def checked_count(count: int, what: str) -> int:
    """The count.

    Raises:
        ValueError: It is below 2.
    """
    if count < 2:
        raise ValueError(
            f"{count} {what} have no spread to judge by; measure at least 2, better 5 or more"
        )
    return count


def checked_level(level: float) -> float:
    """The level.

    Raises:
        ValueError: It is not above 0 and below 0.5.
    """
    if not 0 < level < 0.5:
        raise ValueError(f"level {level} is not above 0 and below 0.5; {LEVEL} is usual")
    return level
