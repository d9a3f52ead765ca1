"""How a new time compares with old ones: ratio, bounds, p value, detectable effect."""

import dataclasses
import math
import statistics
from collections.abc import Sequence

import scipy

from cnnprec.verdicts.regression import NOISE, Regression, State, fit
from cnnprec.verdicts.statistics import LEVEL, ROUNDING, or_infinite, sign_flip, t_quantile

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
    error = math.sqrt(
        max(line.variance, new_error**2)
        + line.variance / line.count
        + max(line.variance, NOISE**2 * min(leverage, 1)) * leverage
    )
    limit = math.log(1 + tolerance)
    return _estimate(line, new - line.at(state), error, limit, level, strict or level)


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
    line, limit = fit(ratios, states), math.log(1 + tolerance)
    still = [0.0] * len(line.state)
    error = math.sqrt(line.variance * (1 / line.count + line.leverage(still)))
    found = _estimate(line, line.at(still), error, limit, level, strict or level)
    excesses = [
        ratio - (line.at(state) - line.at(still)) - limit
        for ratio, state in zip(ratios, states or [still] * len(ratios), strict=True)
    ]
    check = sign_flip([0.0 if abs(excess) <= ROUNDING else excess for excess in excesses])
    return dataclasses.replace(found, check=check)


def _estimate(
    line: Regression, difference: float, error: float, limit: float, level: float, strict: float
) -> Estimate:
    excess = difference - limit
    if error <= ROUNDING:
        error = 0.0
        p_value = 0.0 if excess > ROUNDING else 1.0
    else:
        p_value = float(scipy.special.stdtr(line.freedom, -excess / error))
    reach = t_quantile(1 - level, line.freedom) * error
    found = t_quantile(1 - strict, line.freedom) + t_quantile(POWER, line.freedom)
    low, ratio, high = (or_infinite(math.exp, difference + by) for by in (-reach, 0, reach))
    detectable = or_infinite(math.expm1, limit + found * error)
    return Estimate(ratio, low, high, p_value, detectable, line.count)


@dataclasses.dataclass(frozen=True)
class Change:
    """The mean of paired differences and its interval of confidence 1 - 2 level."""

    mean: float
    low: float
    high: float
    count: int


def mean_change(differences: Sequence[float], level: float = LEVEL) -> Change:
    """How far paired differences are from zero: at least 2, of accuracies, new less old.

    Two one-sided t tests, one against each end of a margin (Schuirmann, 1987), both reject at
    ``level`` exactly if the interval of confidence 1 - 2 level lies within the margin.
    """
    mean, count = statistics.mean(differences), len(differences)
    error = statistics.stdev(differences) / math.sqrt(count)
    reach = t_quantile(1 - level, count - 1) * error
    return Change(mean, mean - reach, mean + reach, count)
