"""How far each of several times is from the others, whatever a quarter of them is."""

import functools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cnnprec.verdicts.estimate import POWER, Estimate
from cnnprec.verdicts.statistics import LEVEL, ROUNDING, or_infinite

Floats = npt.NDArray[np.float64]

_DRAWS, _MOST = 10_000, 4_000_000  # sets of peers, and peers in all, that are drawn
_NEAR = 0.75  # of the peers count in any case, and more where they are no further than
_FAR = 3.0 * 1.4826  # median deviations: three deviations of a normal distribution


def beside_peers(logs: Sequence[float], *, tolerance: float, strict: float) -> list[Estimate]:
    """Compares each of at least 3 logarithms of times with the mean of those near the median.

    p values, of "the ratio is at most 1 + tolerance", hold for all peers together; each bound for
    one peer, with confidence 1 - `LEVEL`; `detectable` is found with p below `strict`.
    """
    values = np.array(logs)
    (mean,), (error,) = _usual(values[np.newaxis])
    (power, single), slowest = _drawn(len(logs))
    limit, reach = math.log1p(tolerance), single * error
    least = float(np.quantile(slowest, 1 - strict)) + power
    found = []
    for away in (values - mean).tolist():
        excess = away - limit
        times = excess / error if error > ROUNDING else math.copysign(math.inf, excess - ROUNDING)
        more = len(slowest) - int(np.searchsorted(slowest, times))
        low, ratio, high = (or_infinite(math.exp, away + by) for by in (-reach, 0, reach))
        detectable = or_infinite(math.expm1, limit + least * error)
        p_value = (1 + more) / (1 + len(slowest))
        found.append(Estimate(ratio, low, high, p_value, detectable, len(logs)))
    return found


def _usual(logs: Floats) -> tuple[Floats, Floats]:
    """Mean and deviation of those near the median, for each row of peers."""
    away = np.abs(logs - np.median(logs, axis=1, keepdims=True))
    far = _FAR * np.median(away, axis=1, keepdims=True)
    least = np.quantile(away, _NEAR, axis=1, method="lower", keepdims=True)
    near = away <= np.maximum(far, least)
    return np.mean(logs, axis=1, where=near), np.std(logs, axis=1, where=near, ddof=1)


@functools.cache
def _drawn(peers: int) -> tuple[list[float], Floats]:
    """Of equal peers: quantiles of any at `POWER` and 1 - `LEVEL`; the slowest of sets, sorted."""
    size = min(_DRAWS, _MOST // peers), peers
    logs = np.random.default_rng(0).normal(size=size)
    means, errors = _usual(logs)
    times = (logs - means[:, np.newaxis]) / errors[:, np.newaxis]
    return np.quantile(times, [POWER, 1 - LEVEL]).tolist(), np.sort(times.max(axis=1))
