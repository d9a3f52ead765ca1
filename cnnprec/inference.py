"""The statistics of comparing times: is this session slower than those, and by how much?

The unit is one session, a fresh process. Rounds of one process share its memory layout and
its neighbours on the machine, so they repeat each other; sessions are what varies. The figure
of a session is the logarithm of one `location` of its rounds: times are compared by their
ratio, and the spread of machines is a share of the time.

Everything here is a pure function on numbers. Times may be in any one unit.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

# scipy ships no types. The second code keeps mypy quiet where stubs are installed.
from scipy import special  # type: ignore[import-untyped, unused-ignore]

LEVEL = 0.05
"""Family-wise error of one comparison."""

POWER = 0.8
"""Probability with which a slowdown of `Estimate.detectable` is found."""

EXACT_PAIRS = 12
"""Up to so many pairs `sign_flip` goes through all 2**n assignments: at most 4,096 of them."""

FLIPS = 9_999
"""Random assignments drawn by `sign_flip` above `EXACT_PAIRS`. See there for why so many."""

# Below this a difference of logarithms is rounding, not time. Logarithms of float64 are below
# 746 in size and have an error below 2**-43 (one unit in the last place of 746). A difference
# of two ratios is made of four of them: 2**-41.
_ROUNDING = 2.0**-40


class Location(str, enum.Enum):
    """Which one number stands for the rounds of a session."""

    MINIMUM = "minimum"
    LOWER_QUARTILE = "lower_quartile"
    MEDIAN = "median"
    GEOMETRIC_MEAN = "geometric_mean"

    def __str__(self) -> str:
        return self.value


def location(values: Sequence[float], kind: Location) -> float:
    """Returns one location of times.

    Quartile and median interpolate linearly between the two nearest order statistics
    (definition 7 of Hyndman and Fan, "Sample Quantiles in Statistical Packages", 1996;
    numpy's default). No sum overflows.

    Args:
        values: Positive finite times in any one unit, in any order.
        kind: Which location.

    Returns:
        The location, in the unit of ``values``; never outside their range.

    Raises:
        ValueError: If there is no value, or one is not a positive finite number.
    """
    return _LOCATIONS[kind](sorted(_checked_times(values, "times")))


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
    logs = [math.log(value) for value in _checked_times(values, "times")]
    return _moments(logs)[1] / math.sqrt(len(logs)) if len(logs) > 1 else 0.0


@dataclasses.dataclass(frozen=True)
class Estimate:
    """How a new time compares with old ones.

    The ratio is above ``low`` with confidence 1 - level, and below ``high`` with confidence
    1 - level; both hold together with 1 - 2 level. But for rounding, ``low > 1 + tolerance``
    says the same as ``p_value < level``. A figure too large for float64 is infinite.

    Attributes:
        ratio: New over old, the exponential of the difference of the logarithms.
        low: One-sided lower bound of the ratio.
        high: One-sided upper bound of the ratio.
        p_value: One-sided, of "the ratio is at most 1 + tolerance".
        detectable: Relative slowdown (0.08 is 8 %) that is found with probability `POWER`.
        count: Baseline sessions, or pairs.
        check: p value of the sign-flip test of the same hypothesis; None if not paired.
    """

    ratio: float
    low: float
    high: float
    p_value: float
    detectable: float
    count: int
    check: float | None = None


@dataclasses.dataclass(frozen=True)
class Equivalence:
    """Whether paired differences are zero but for a margin.

    Attributes:
        mean: Mean difference.
        low: Lower end of the interval of confidence 1 - 2 level.
        high: Upper end of it.
        equivalent: Whether the interval lies strictly within plus or minus the margin.
        count: Pairs.
    """

    mean: float
    low: float
    high: float
    equivalent: bool
    count: int


def predict(
    baseline: Sequence[float],
    new: float,
    *,
    tolerance: float,
    level: float = LEVEL,
    new_error: float = 0.0,
) -> Estimate:
    """Compares one new session with the sessions of a baseline.

    With x the logarithm of ``new``, and mean and s (divisor m - 1) those of the logarithms of
    the m baseline times, ``(x - mean) / (s * sqrt(1 + 1/m))`` has Student's t distribution
    with m - 1 degrees of freedom if all sessions are independent and normal with one mean.
    The 1 is the spread of the new session itself, the 1/m that of the mean (Hahn and Meeker,
    "Statistical Intervals", section 4.7).

    That trusts sessions to be normal. Where rounds have two speeds and sessions hardly
    differ, few sessions can agree by luck, and s is then too small. The rounds of the new
    session warn of it: they disagree. So the error is ``sqrt(max(s, new_error)**2 + s**2 /
    m)``. It is never smaller than that of the rule above, written e below, so there are only
    fewer alarms, and what is said next of power is a lower bound.

    `Estimate.detectable` is ``exp(effect) - 1`` with

        effect = log(1 + tolerance) + (t[1 - level] + t[POWER]) * e.

    Let the new session be slower by exactly this: x = effect + d, where d is what x would
    have been above the mean without it. The test rejects if
    ``x > log(1 + tolerance) + t[1 - level] * e``, which is ``d / e > -t[POWER]``. With
    ``e = s * sqrt(1 + 1/m)`` the left side has the central t distribution, so the probability
    is POWER exactly, whatever the true spread; with a larger e it is more. It is a probability
    over baseline and new session together; once the baseline is known, a fixed slowdown has
    the power that the true spread gives it.

    Without normality, but with exchangeable sessions, the probability of a false alarm at
    tolerance 0 is still at most ``floor(M / (1 + k**2)) / M`` with M = m + 1 and
    ``k**2 = t**2 * m / (m - 1 + t**2)``, t = t[1 - level]: t is a rising function of the new
    value's distance from the mean of all M values in units of their standard deviation
    (an externally from an internally studentised residual), it exceeds t where that distance
    exceeds k, and by Cantelli's inequality at most a share 1 / (1 + k**2) of any M numbers
    lies that far up. At level 0.05 these are 17 % for m = 5, 18 % for 10 and 24 % for 20.

    Args:
        baseline: Positive finite times, one per session, at least 2, in any order.
        new: Positive finite time of the new session, in the unit of ``baseline``.
        tolerance: Relative slowdown that is accepted, 0 or more.
        level: Error probability of the test and of each bound, above 0 and below 0.5.
        new_error: `standard_error` of the rounds of the new session, 0 or more.

    Returns:
        The estimate. Where nothing varies (by more than 1e-12 of the time, which is
        rounding) both bounds are the ratio and the p value is 0 if the ratio is above
        1 + tolerance, else 1.

    Raises:
        ValueError: If an argument is not as said.
    """
    old = [math.log(value) for value in _checked_times(baseline, "baseline times")]
    (fresh,) = _checked_times((new,), "new time")
    count = _checked_count(len(old), "baseline sessions")
    mean, deviation = _moments(old)
    return _estimate(
        math.log(fresh) - mean,
        math.hypot(max(deviation, _checked_error(new_error)), deviation / math.sqrt(count)),
        count,
        limit=math.log(1 + _checked_tolerance(tolerance)),
        level=_checked_level(level),
    )


def paired(
    old: Sequence[float], new: Sequence[float], *, tolerance: float, level: float = LEVEL
) -> Estimate:
    """Compares sessions that were measured in pairs, old and new next to each other.

    This is the one-sided paired t test on the n logarithms of the ratios, with n - 1 degrees
    of freedom and standard error ``s / sqrt(n)``. `Estimate.detectable` is that of `predict`
    with this standard error. `Estimate.check` tests the same hypothesis by `sign_flip`, which
    needs symmetry in place of normality. It has no p value below 2**-n: with fewer than 5
    pairs it never gets below 0.05.

    Args:
        old: Positive finite times, one per session, at least 2.
        new: As many times in the same unit; ``new[i]`` was measured with ``old[i]``.
        tolerance: Relative slowdown that is accepted, 0 or more.
        level: Error probability of the test and of each bound, above 0 and below 0.5.

    Returns:
        The estimate, with ``check``. Ratios that do not vary are handled as in `predict`.

    Raises:
        ValueError: If an argument is not as said.
    """
    before = _checked_times(old, "old times")
    after = _checked_times(new, "new times")
    if len(before) != len(after):
        raise ValueError(
            f"{len(before)} old and {len(after)} new times are no pairs; give one new time "
            "for each old one"
        )
    count = _checked_count(len(before), "pairs")
    limit = math.log(1 + _checked_tolerance(tolerance))
    level = _checked_level(level)
    ratios = [math.log(b) - math.log(a) for a, b in zip(before, after, strict=True)]
    mean, deviation = _moments(ratios)
    excesses = [ratio - limit for ratio in ratios]
    check = sign_flip([0.0 if abs(excess) <= _ROUNDING else excess for excess in excesses])
    return _estimate(
        mean, deviation / math.sqrt(count), count, limit=limit, level=level, check=check
    )


def sign_flip(differences: Sequence[float]) -> float:
    """Returns the p value of the one-sided permutation test of "not above zero".

    If the differences are independent and symmetric about zero, each assignment of signs is
    as likely as the one seen (Fisher, "The Design of Experiments", section 21). The p value is
    the share of the 2**n assignments whose sum is at least the sum seen. Flipping the signs of
    a subset lowers the sum by twice the sum of the subset, so this is the share of subsets
    whose sum is at most zero. As flips leave the sum of squares alone, the sum orders the
    assignments as the t statistic does.

    Up to `EXACT_PAIRS` differences, all subsets are counted. Above that, `FLIPS` subsets are
    drawn with a fixed seed and p is ``(1 + hits) / (1 + FLIPS)``, which counts the assignment
    seen and keeps the test's level (Phipson and Smyth, "Permutation P-values Should Never Be
    Zero", 2010). 9,999 make the smallest p 0.0001, and the standard error of a p of 0.05 is
    0.0022: enough to check a t test.

    Sums that are zero but for rounding count as zero. The order of the differences does not
    matter.

    Args:
        differences: Finite numbers, at least 1.

    Returns:
        A number above 0 and at most 1.

    Raises:
        ValueError: If there is no difference, or one is not finite.
    """
    values = sorted(_checked_finite(differences))
    largest = max(abs(value) for value in values)
    if largest == 0:
        return 1.0
    # In units of the largest no sum overflows.
    scaled = np.asarray([value / largest for value in values], dtype=np.float64)
    # n roundings (of the unit and of n - 1 additions), each at most eps / 2 of the sum of the
    # sizes; twice that covers the products of these errors.
    rounding = len(values) * float(np.finfo(np.float64).eps) * float(np.abs(scaled).sum())
    if len(values) <= EXACT_PAIRS:
        sums = np.zeros(1)
        for value in scaled:
            sums = np.concatenate([sums, sums + value])
        return float(np.mean(sums <= rounding))
    generator = np.random.default_rng(0)
    sums = np.zeros(FLIPS)
    for value in scaled:
        sums += value * generator.integers(0, 2, size=FLIPS)
    return (1 + int(np.count_nonzero(sums <= rounding))) / (1 + FLIPS)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Returns p values adjusted for being k at once.

    Rejecting what is below a level after this has a family-wise error of at most that level,
    however the tests depend on each other (Holm, "A Simple Sequentially Rejective Multiple
    Test Procedure", 1979).

    Args:
        p_values: Numbers from 0 to 1; none is allowed.

    Returns:
        Adjusted p values, in the order given, each at least the given one and at most 1.
        A smaller p value never gets a larger adjusted one.

    Raises:
        ValueError: If one is not from 0 to 1.
    """
    for p_value in p_values:
        if not 0 <= p_value <= 1:
            raise ValueError(f"p value {p_value} is not a number from 0 to 1")
    adjusted = [0.0] * len(p_values)
    so_far = 0.0
    ranking = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for rank, index in enumerate(ranking):
        so_far = max(so_far, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = so_far
    return tuple(adjusted)


def equivalence(differences: Sequence[float], margin: float, level: float = LEVEL) -> Equivalence:
    """Tests whether paired differences are zero but for a margin.

    These are two one-sided t tests, one against each end of the margin (Schuirmann, 1987).
    Both reject at ``level`` exactly if the interval of confidence 1 - 2 level lies within the
    margin. Too few or too scattered pairs are never equivalent.

    Args:
        differences: New less old of each pair, at least 2; accuracies as fractions of 1, so
            from -1 to 1.
        margin: Difference that does not matter, a fraction above 0 and at most 1.
        level: Error probability of each of the two tests, above 0 and below 0.5.

    Returns:
        Mean, interval and verdict. If all differences are equal, both ends of the interval
        are the mean.

    Raises:
        ValueError: If an argument is not as said.
    """
    values = _checked_finite(differences)
    for value in values:
        if abs(value) > 1:
            raise ValueError(
                f"difference {value} is not from -1 to 1; give accuracies as fractions, "
                "0.12 for 12 %"
            )
    if not 0 < margin <= 1:
        raise ValueError(f"margin {margin} is not a fraction above 0 and at most 1")
    count = _checked_count(len(values), "pairs")
    mean, deviation = _moments(values)
    reach = _t_quantile(1 - _checked_level(level), count - 1) * deviation / math.sqrt(count)
    low, high = mean - reach, mean + reach
    return Equivalence(mean, low, high, -margin < low and high < margin, count)


def _estimate(
    difference: float,
    error: float,
    count: int,
    *,
    limit: float,
    level: float,
    check: float | None = None,
) -> Estimate:
    """Turns a difference of logarithms and its standard error into an estimate."""
    freedom = count - 1
    excess = difference - limit
    if error <= _ROUNDING:
        error = 0.0
        p_value = 0.0 if excess > _ROUNDING else 1.0
    else:
        p_value = float(special.stdtr(freedom, -excess / error))
    reach = _t_quantile(1 - level, freedom) * error
    return Estimate(
        ratio=_or_infinite(math.exp, difference),
        low=_or_infinite(math.exp, difference - reach),
        high=_or_infinite(math.exp, difference + reach),
        p_value=p_value,
        detectable=_or_infinite(math.expm1, limit + reach + _t_quantile(POWER, freedom) * error),
        count=count,
        check=check,
    )


@functools.lru_cache(maxsize=1024)
def _t_quantile(probability: float, freedom: int) -> float:
    return float(special.stdtrit(freedom, probability))


def _moments(values: Sequence[float]) -> tuple[float, float]:
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


def _or_infinite(function: Callable[[float], float], value: float) -> float:
    try:
        return function(value)
    except OverflowError:
        return math.inf


def _quantile(ordered: Sequence[float], probability: float) -> float:
    position = probability * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def _geometric_mean(ordered: Sequence[float]) -> float:
    mean = math.fsum(map(math.log, ordered)) / len(ordered)
    return min(max(ordered[0], _or_infinite(math.exp, mean)), ordered[-1])


_LOCATIONS: Mapping[Location, Callable[[Sequence[float]], float]] = MappingProxyType(
    {
        Location.MINIMUM: lambda ordered: ordered[0],
        Location.LOWER_QUARTILE: lambda ordered: _quantile(ordered, 0.25),
        Location.MEDIAN: lambda ordered: _quantile(ordered, 0.5),
        Location.GEOMETRIC_MEAN: _geometric_mean,
    }
)


def _checked_times(values: Sequence[float], what: str) -> list[float]:
    if len(values) == 0:
        raise ValueError(f"{what}: there are none; give at least one positive time")
    for value in values:
        if not (math.isfinite(value) and value > 0):
            raise ValueError(
                f"{what}: {value} is not a positive finite number; leave out what has no time"
            )
    return [float(value) for value in values]


def _checked_finite(values: Sequence[float]) -> list[float]:
    if len(values) == 0:
        raise ValueError("differences: there are none; give at least one finite number")
    for value in values:
        if not math.isfinite(value):
            raise ValueError(f"difference {value} is not a finite number; leave out that pair")
    return [float(value) for value in values]


def _checked_count(count: int, what: str) -> int:
    if count < 2:
        raise ValueError(
            f"{count} {what} have no spread to judge by; measure at least 2, better 5 or more"
        )
    return count


def _checked_tolerance(tolerance: float) -> float:
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ValueError(
            f"tolerance {tolerance} is not a finite number of 0 or more; 0.05 accepts 5 %"
        )
    return tolerance


def _checked_error(error: float) -> float:
    if not (math.isfinite(error) and error >= 0):
        raise ValueError(f"standard error {error} is not a finite number of 0 or more")
    return error


def _checked_level(level: float) -> float:
    if not 0 < level < 0.5:
        raise ValueError(f"level {level} is not above 0 and below 0.5; {LEVEL} is usual")
    return level
