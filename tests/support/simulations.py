"""Whether a count in a simulation fits a rate.

The simulations have fixed seeds. Each is judged by the binomial distribution: a rate is wrong
if a count as extreme has a probability below `ALARM` under every rate that is allowed. There
are about 150 such checks in tests/verdicts, so sound modules fail one of them with a probability
below 0.2 %.
"""

import math

import numpy as np
from scipy import special

ALARM = 1e-5


def rate_is_possible(count: int, trials: int, low: float, high: float) -> bool:
    """Whether a true rate from low to high explains the count, by the binomial distribution."""
    too_many = special.bdtrc(count - 1, trials, high) if count else 1.0
    too_few = special.bdtr(count, trials, low)
    return bool(too_many >= ALARM / 2 and too_few >= ALARM / 2)


def assert_rate(count: int, trials: int, low: float, high: float) -> None:
    assert rate_is_possible(count, trials, low, high), (
        f"{count} of {trials} = {count / trials:.4f} is not a rate from {low:.4f} to {high:.4f}"
    )


def statistics_of(logs: np.ndarray, new_error: np.ndarray | float = 0.0) -> np.ndarray:
    """t of the last session of each row against the others: `predict`, for many at once."""
    old, new = logs[:, :-1], logs[:, -1]
    deviation = old.std(axis=1, ddof=1)
    error = np.hypot(np.maximum(deviation, new_error), deviation / math.sqrt(old.shape[1]))
    return (new - old.mean(axis=1)) / error
