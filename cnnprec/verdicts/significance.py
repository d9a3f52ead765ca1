"""p values: the sign-flip test, and Holm's adjustment for several tests at once."""

from collections.abc import Sequence

import numpy as np

EXACT_PAIRS = 12  # up to so many pairs `sign_flip` goes through all 2**n assignments
FLIPS = 9_999  # random ones above: a p value of 0.05 has a standard error of 0.0022


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
    """The p values adjusted for being k at once, in the order given.

    Rejecting what is below a level then has a family-wise error of at most that level (Holm, "A
    Simple Sequentially Rejective Multiple Test Procedure", 1979).
    """
    ranking = np.argsort(p_values)
    counts = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[ranking] = np.maximum.accumulate(np.minimum(1, counts * np.asarray(p_values)[ranking]))
    return tuple(adjusted.tolist())
