"""How a computed array differs from what it should be."""

import dataclasses
import math

import numpy as np

from cnnprec.numerics.bounds import Enclosure
from cnnprec.precision.formats import Real


@dataclasses.dataclass(frozen=True)
class Discrepancy:
    """How a computed array differs from its enclosure; the worst element is that of the maximum."""

    max_error_over_bound: float  # above 1 the result is wrong; infinite at an unexpected NaN or Inf
    signed_mean_error: float  # mean of (computed - exact) / bound of finite elements; NaN without
    outward_mean_error: float  # the same of magnitudes: negative if they are truncated
    worst_index: tuple[int, ...]
    worst_computed: float
    worst_exact: float


def discrepancy(computed: Real, enclosure: Enclosure) -> Discrepancy:
    """Compares a computed array, of any floating dtype, with its enclosure of the same shape."""
    exact, bound = enclosure.exact, enclosure.bound
    if computed.shape != exact.shape or computed.size == 0:
        raise ValueError(
            f"expected a non-empty array of shape {exact.shape}, got {computed.shape}."
        )
    computed = computed.astype(np.float64).astype(exact.dtype)
    both_finite = np.isfinite(computed) & np.isfinite(exact)
    with np.errstate(invalid="ignore"):
        error = np.where(both_finite, computed - exact, 0)
    same = (computed == exact) | (np.isnan(computed) & np.isnan(exact))
    scaled = np.asarray(error / np.where(bound > 0, bound, 1), np.float64)
    ratio = np.where((bound > 0) | (error == 0), np.abs(scaled), np.inf)
    ratio = np.where(both_finite | same, ratio, np.inf)
    worst = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
    usable = both_finite & (bound > 0)
    signed = scaled[usable]
    outward = signed * np.sign(np.asarray(exact[usable], np.float64))
    return Discrepancy(
        max_error_over_bound=float(ratio[worst]),
        signed_mean_error=float(signed.mean()) if signed.size else math.nan,
        outward_mean_error=float(outward.mean()) if outward.size else math.nan,
        worst_index=tuple(int(i) for i in worst),
        worst_computed=float(computed[worst]),
        worst_exact=float(exact[worst]),
    )
