"""How a new time compares with old ones: ratio, bounds, p value, detectable effect."""

import dataclasses
import math
from collections.abc import Sequence

import scipy

from cnnprec.verdicts.regression import NOISE, Regression, State, fit
from cnnprec.verdicts.significance import sign_flip
from cnnprec.verdicts.statistics import LEVEL, ROUNDING, or_infinite, t_quantile

POWER = 0.8  # probability with which a slowdown of `Estimate.detectable` is found


@dataclasses.dataclass(frozen=True)
class Estimate:
    """How a new time compares with old ones.

    The ratio is above ``low`` with confidence 1 - level, and below ``high`` with confidence
    1 - level; both hold together with 1 - 2 level. But for rounding, ``low > 1 + tolerance``
    says the same as ``p_value < level``. A figure too large for float64 is infinite.
    """

    ratio: float  # new over old, the exponential of the difference of the logarithms
    low: float
    high: float
    p_value: float  # one-sided, of "the ratio is at most 1 + tolerance"
    detectable: float  # relative slowdown (0.08 is 8 %) that is found with probability `POWER`
    count: int  # baseline sessions, or pairs
    check: float | None = None  # p value of `sign_flip` of the same; None if not paired


def predict(
    line: Regression,
    new: float,
    state: State | None,
    *,
    tolerance: float,
    level: float = LEVEL,
    strict: float | None = None,
    new_error: float = 0.0,
) -> Estimate:
    """Compares one new session with a line through the sessions of a baseline.

    docs/comparing.md derives this prediction interval of a regression and its detectable effect.
    `new` is the logarithm of the new session's time, `new_error` the `standard_error` of its turns,
    `tolerance` the relative slowdown that is accepted, `level` the error probability of each bound
    and `strict` that of the test whose power `detectable` states, the same unless given.
    """
    leverage = line.leverage(state)
    return _estimate(
        new - line.at(state),
        math.sqrt(
            max(line.variance, new_error**2)
            + line.variance / line.count
            + max(line.variance, NOISE**2 * min(leverage, 1)) * leverage
        ),
        line.count,
        freedom=line.freedom,
        limit=math.log(1 + tolerance),
        level=level,
        strict=strict,
    )


def paired(
    ratios: Sequence[float],
    states: Sequence[State] | None,
    *,
    tolerance: float,
    level: float = LEVEL,
    strict: float | None = None,
) -> Estimate:
    """Compares sessions that were measured in pairs, old and new next to each other.

    The one-sided paired t test, at the point where the machine's state did not differ within the
    pairs; `ratios` are logarithms of new over old, `states` the differences of the states, if they
    are known.
    """
    line = fit(ratios, states)
    limit = math.log(1 + tolerance)
    still = [0.0] * len(line.state)
    moved = [line.at(state) - line.at(still) for state in states] if states else [0.0] * len(ratios)
    excesses = [ratio - move - limit for ratio, move in zip(ratios, moved, strict=True)]
    return _estimate(
        line.at(still),
        math.sqrt(line.variance * (1 / line.count + line.leverage(still))),
        len(ratios),
        freedom=line.freedom,
        limit=limit,
        level=level,
        strict=strict,
        check=sign_flip([0.0 if abs(excess) <= ROUNDING else excess for excess in excesses]),
    )


def _estimate(
    difference: float,
    error: float,
    count: int,
    *,
    limit: float,
    level: float,
    strict: float | None,
    freedom: float,
    check: float | None = None,
) -> Estimate:
    excess = difference - limit
    if error <= ROUNDING:
        error = 0.0
        p_value = 0.0 if excess > ROUNDING else 1.0
    else:
        p_value = float(scipy.special.stdtr(freedom, -excess / error))
    reach = t_quantile(1 - level, freedom) * error
    found = t_quantile(1 - (strict or level), freedom) * error
    return Estimate(
        ratio=or_infinite(math.exp, difference),
        low=or_infinite(math.exp, difference - reach),
        high=or_infinite(math.exp, difference + reach),
        p_value=p_value,
        detectable=or_infinite(math.expm1, limit + found + t_quantile(POWER, freedom) * error),
        count=count,
        check=check,
    )
