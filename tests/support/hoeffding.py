"""What chance explains of a mean of rounding errors."""

import math


def hoeffding_limit(count: int, probability: float = 1e-9) -> float:
    """Largest mean of independent, zero-mean errors in [-1, 1] that chance explains.

    Errors divided by their bound lie in [-1, 1], so by Hoeffding's inequality their mean
    exceeds ``sqrt(2 ln(2 / p) / n)`` with probability at most p.

    Args:
        count: Number n of errors; at least 1.
        probability: Probability p of a false alarm.

    Raises:
        ValueError: ``count`` is below 1, or ``probability`` is not inside (0, 1).
    """
    if count < 1 or not 0 < probability < 1:
        raise ValueError(f"need count >= 1 and 0 < probability < 1, got {count} and {probability}.")
    return math.sqrt(2.0 * math.log(2.0 / probability) / count)
