"""How slow the other precisions of a session were: one more number of the machine's state."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cnnprec.verdicts.case import TIME, Case
from cnnprec.verdicts.regression import SLOPE, State

States = tuple[list[State], list[State]]  # of the old and of the new sessions


def beside_others(cases: Sequence[Case]) -> list[States] | None:
    """The states of the machine for each precision, with how slow the others were in it.

    That is the median of the logarithms of their figures, each less its mean in the old sessions,
    less what the calibrators explain. None for one precision alone, for pairs, in which the machine
    was as slow for both, and where not every session has a time of each.
    """
    logs = [case.logs(TIME) for case in cases]
    counts = {(len(old), len(new)) for old, new in logs}
    due = {(len(case.old), len(case.new)) for case in cases}
    if len(cases) < 2 or cases[0].paired or len(counts | due) > 1:
        return None
    count = len(logs[0][0])

    def away(rows: Sequence[Sequence[float]]) -> npt.NDArray[np.float64]:
        """Rows of the old and the new sessions, less the mean of the old ones."""
        return np.asarray(np.subtract(rows, np.mean(rows[:count], axis=0)))

    growths = away(list(zip(*(old + new for old, new in logs), strict=True)))
    found = []
    for place, case in enumerate(cases):
        numbers = np.median(np.delete(growths, place, axis=1), axis=1)
        known = case.states()
        states: list[State] = [()] * len(numbers)
        if known:
            states = known[0] + known[1]
            numbers = numbers - SLOPE * away(states).sum(axis=1)
        rows: list[State] = [
            (*state, number) for state, number in zip(states, numbers.tolist(), strict=True)
        ]
        found.append((rows[:count], rows[count:]))
    return found
