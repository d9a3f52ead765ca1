"""Variances of several precisions that borrow from each other (limma's empirical Bayes).

Where they resemble each other, a weighted mean of a precision's own and the common one is worth
more degrees of freedom. G. K. Smyth, "Linear models and empirical Bayes methods", Statistical
Applications in Genetics and Molecular Biology 3 (2004).
"""

import math
import statistics
from collections.abc import Sequence

import scipy

_TINY = 1e-18  # of sessions that agree to the last digit, because zero has no logarithm


def moderate(variances: Sequence[float], freedom: float) -> tuple[tuple[float, ...], float]:
    """Draws variances, of so many degrees of freedom, towards their common value; returns both.

    The residuals of precisions in one session are correlated, so the variances are worth less than
    independent ones: the degrees of freedom that are borrowed are at most twice a precision's own.
    """
    if len(variances) < 3:
        return tuple(variances), freedom
    logs = [
        math.log(max(v, _TINY)) - float(scipy.special.digamma(freedom / 2)) + math.log(freedom / 2)
        for v in variances
    ]
    mean = statistics.fmean(logs)
    excess = statistics.variance(logs, mean) - float(scipy.special.polygamma(1, freedom / 2))
    borrowed = 2.0 * freedom
    if excess > 0:
        borrowed = min(borrowed, 2 * _trigamma_inverse(excess))
    common = math.exp(mean + float(scipy.special.digamma(borrowed / 2)) - math.log(borrowed / 2))
    total = borrowed + freedom
    return tuple((borrowed * common + freedom * v) / total for v in variances), total


def _trigamma_inverse(value: float) -> float:
    """The x with trigamma(x) = value, by Newton's method on 1 / trigamma (Smyth, appendix)."""
    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(scipy.special.polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(scipy.special.polygamma(2, x))
        x += step
        if -step / x < 1e-8:
            break
    return x
