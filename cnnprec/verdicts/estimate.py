"""How a new time compares with old ones: ratio, bounds, p value, detectable effect."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

# scipy ships no types. The second code keeps mypy quiet where stubs are installed.
from scipy import special  # type: ignore[import-untyped, unused-ignore]

from cnnprec.verdicts.regression import Regression, fit
from cnnprec.verdicts.significance import sign_flip
from cnnprec.verdicts.statistics import (
    LEVEL,
    ROUNDING,
    checked_count,
    checked_level,
    checked_times,
    moments,
    or_infinite,
    t_quantile,
)

POWER = 0.8
"""Probability with which a slowdown of `Estimate.detectable` is found."""


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


def predict(
    baseline: Sequence[float],
    new: float,
    *,
    tolerance: float,
    level: float = LEVEL,
    new_error: float = 0.0,
) -> Estimate:
    """Compares one new session with the sessions of a baseline.

    The prediction interval of Student's t with m - 1 degrees of freedom (Hahn and Meeker,
    "Statistical Intervals", section 4.7), on logarithms, with the error
    ``sqrt(max(s, new_error)**2 + s**2 / m)``: s is the standard deviation of the m sessions, and
    the disagreement of the new session's own rounds widens the interval where few sessions agree
    by luck. docs/comparing.md derives it, its detectable effect, and what holds without normality.

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
    old = [math.log(value) for value in checked_times(baseline, "baseline times")]
    (fresh,) = checked_times((new,), "new time")
    count = checked_count(len(old), "baseline sessions")
    mean, deviation = moments(old)
    return _estimate(
        math.log(fresh) - mean,
        math.hypot(max(deviation, _checked_error(new_error)), deviation / math.sqrt(count)),
        count,
        limit=math.log(1 + _checked_tolerance(tolerance)),
        level=checked_level(level),
    )


def predict_given(
    line: Regression,
    new: float,
    state: float | None,
    *,
    variance: float,
    freedom: float,
    tolerance: float,
    level: float = LEVEL,
    new_error: float = 0.0,
) -> Estimate:
    """Compares one new session with a line through the sessions of a baseline.

    The further the machine's state is from those that the baseline met, the wider the interval.

    Args:
        line: Through the baseline's sessions.
        new: Logarithm of the new session's time.
        state: Logarithm of its calibrators' time; None to do without.
        variance: Of a session about the line, above or equal to 0.
        freedom: Degrees of freedom of the variance.
        tolerance: Relative slowdown that is accepted, 0 or more.
        level: Error probability of the test and of each bound, above 0 and below 0.5.
        new_error: `standard_error` of the turns of the new session, 0 or more.

    Returns:
        The estimate; its ratio is the new time over the expected one.
    """
    spread = variance * line.leverage(state)
    return _estimate(
        new - line.at(state),
        math.sqrt(max(variance, _checked_error(new_error) ** 2) + spread),
        line.count,
        freedom=freedom,
        limit=math.log(1 + _checked_tolerance(tolerance)),
        level=checked_level(level),
    )


def paired_given(
    ratios: Sequence[float],
    states: Sequence[float] | None,
    *,
    tolerance: float,
    level: float = LEVEL,
) -> Estimate:
    """As `paired`, given how the machine's state differed within each pair.

    Args:
        ratios: Logarithms of new over old, at least 2.
        states: The same of the calibrators' times; None to do without.
        tolerance: Relative slowdown that is accepted, 0 or more.
        level: Error probability of the test and of each bound, above 0 and below 0.5.
    """
    line = fit(ratios, states)
    limit = math.log(1 + _checked_tolerance(tolerance))
    expected = line.at(None if states is None else 0.0)
    moved = [0.0] * len(ratios) if states is None else [line.slope * state for state in states]
    excesses = [ratio - move - limit for ratio, move in zip(ratios, moved, strict=True)]
    return _estimate(
        expected,
        math.sqrt(line.variance * line.leverage(None if states is None else 0.0)),
        checked_count(len(ratios), "pairs"),
        freedom=line.freedom,
        limit=limit,
        level=checked_level(level),
        check=sign_flip([0.0 if abs(excess) <= ROUNDING else excess for excess in excesses]),
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
    before = checked_times(old, "old times")
    after = checked_times(new, "new times")
    if len(before) != len(after):
        raise ValueError(
            f"{len(before)} old and {len(after)} new times are no pairs; give one new time "
            "for each old one"
        )
    count = checked_count(len(before), "pairs")
    limit = math.log(1 + _checked_tolerance(tolerance))
    level = checked_level(level)
    ratios = [math.log(b) - math.log(a) for a, b in zip(before, after, strict=True)]
    mean, deviation = moments(ratios)
    excesses = [ratio - limit for ratio in ratios]
    check = sign_flip([0.0 if abs(excess) <= ROUNDING else excess for excess in excesses])
    return _estimate(
        mean, deviation / math.sqrt(count), count, limit=limit, level=level, check=check
    )


def _estimate(
    difference: float,
    error: float,
    count: int,
    *,
    limit: float,
    level: float,
    freedom: float | None = None,
    check: float | None = None,
) -> Estimate:
    """Turns a difference of logarithms and its standard error into an estimate."""
    freedom = count - 1 if freedom is None else freedom
    excess = difference - limit
    if error <= ROUNDING:
        error = 0.0
        p_value = 0.0 if excess > ROUNDING else 1.0
    else:
        p_value = float(special.stdtr(freedom, -excess / error))
    reach = t_quantile(1 - level, freedom) * error
    return Estimate(
        ratio=or_infinite(math.exp, difference),
        low=or_infinite(math.exp, difference - reach),
        high=or_infinite(math.exp, difference + reach),
        p_value=p_value,
        detectable=or_infinite(math.expm1, limit + reach + t_quantile(POWER, freedom) * error),
        count=count,
        check=check,
    )


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
