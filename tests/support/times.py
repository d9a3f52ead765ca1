"""Times to draw, and what the tests of their statistics compare with."""

import math

import pytest
from hypothesis import strategies as st

from cnnprec.verdicts import estimate
from cnnprec.verdicts.estimate import Estimate
from cnnprec.verdicts.regression import fit
from cnnprec.verdicts.statistics import LEVEL

TIMES = st.floats(1e-6, 1e6)
BASELINES = st.lists(TIMES, min_size=2, max_size=12)
TOLERANCES = st.floats(0, 1)
FACTORS = st.floats(1e-6, 1e6)


# Times and factors from 1e-6 to 1e6 have logarithms below 28 in size; their unit in the last
# place is 2**-48. A logarithm moves by less than 4 of these when its time is scaled (two
# logarithms, one product), and the mean adds a rounding or two to each side.
MOVED = 2.0**-44


def exps(*logs: float) -> list[float]:
    return [math.exp(value) for value in logs]


def predict(
    baseline, new, *, tolerance: float, level: float = LEVEL, new_error: float = 0.0
) -> Estimate:
    """A new time compared with a baseline's, the machine's state unknown."""
    line = fit([math.log(time) for time in baseline], None)
    return estimate.predict(
        line,
        math.log(new),
        None,
        tolerance=tolerance,
        level=level,
        new_error=new_error,
    )


def paired(old, new, *, tolerance: float, level: float = LEVEL) -> Estimate:
    """Times compared in pairs, the machine's state unknown."""
    ratios = [math.log(b) - math.log(a) for a, b in zip(old, new, strict=True)]
    return estimate.paired(ratios, None, tolerance=tolerance, level=level)


# Student's t in closed form, an oracle that shares no code with scipy.
def upper_tail_1(t: float) -> float:
    return 0.5 - math.atan(t) / math.pi


def upper_tail_2(t: float) -> float:
    return 0.5 - t / (2 * math.sqrt(2 + t * t))


def quantile_1(p: float) -> float:
    return math.tan(math.pi * (p - 0.5))


def quantile_2(p: float) -> float:
    return (2 * p - 1) * math.sqrt(2 / (4 * p * (1 - p)))


# Numbers by hand. SciPy 1.15, the newest for Python 3.10, finds quantiles of t to a relative
# 1.5e-11 (1.17: to rounding), and a slip in a formula makes far more than 1e-9.
def close(expected: float) -> object:
    return pytest.approx(expected, rel=1e-9)
