"""All saved sessions of one machine and workload: where their times changed.

docs/history.md has the method, and the false alarms and the power that its constants were chosen
by.
"""

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from cnnprec.records.read_sessions import SavedSession, age
from cnnprec.records.record import Record
from cnnprec.verdicts.baseline import unlike
from cnnprec.verdicts.case import TIME, Case, Records, figure
from cnnprec.verdicts.regression import fit

Floats = npt.NDArray[np.float64]

FEWEST = 10  # sessions that are needed to look for a change; a level has at least half as many

# What a cut has to gain: first in variances of the noise, then, as the correlation of neighbours is
# known, in long-run variances.
_FIRST_PENALTY, _PENALTY = 40.0, 15.0
_LEAST_NOISE = 0.002  # relative: equal times would show changes too small to matter
_MOST_CORRELATED = 0.8
_FURTHEST = 3.0  # a session further from the median of five counts as so many deviations only


@dataclasses.dataclass(frozen=True, eq=False)
class History:
    """The sessions of one machine and workload, oldest first."""

    sessions: tuple[SavedSession, ...]
    times: Mapping[str, Floats]  # by precision, logarithms over the median, given the calibrators
    starts: Mapping[str, Sequence[int]]  # by precision, where a level begins, the first included
    left_out: Mapping[str, int]  # how the other sessions differ, and how many differ so

    def levels(self, name: str) -> list[float]:
        """The mean of the times at each level of a precision."""
        spans = itertools.pairwise([*self.starts[name], len(self.sessions)])
        return [float(self.times[name][start:end].mean()) for start, end in spans]


def history(sessions: Sequence[SavedSession], like: Records) -> History:
    """Puts the sessions of the machine and workload of one, failed ones too, in a row."""
    kept, figures, left_out = [], [], Counter[str]()
    for session in sorted(sessions, key=age):
        if differences := unlike(session, like, None):
            left_out["; ".join(map(str, differences))] += 1
            continue
        row = [figure(r, TIME.field) if (r := session.records.get(name)) else None for name in like]
        if None in row:
            left_out["a precision was not measured or has no time"] += 1
        else:
            kept.append(session)
            figures.append(row)
    columns = zip(like, np.log(np.array(figures, dtype=np.float64)).T, strict=bool(kept))
    times = {name: _given_state([s.records[name] for s in kept], logs) for name, logs in columns}
    starts = {name: change_points(series) for name, series in times.items()}
    return History(tuple(kept), times, starts, left_out)


def _given_state(records: Sequence[Record], times: Floats) -> Floats:
    """The times less what the machine's state explains, over their median.

    The rule's line is fitted to the differences of neighbours: a change that lasts is one of them
    only, so it is not mistaken for the machine's.
    """
    software = [(record.environment.python, record.environment.numpy) for record in records]
    for _, group in itertools.groupby(range(len(records)), key=software.__getitem__):
        places = list(group)
        states = Case("", tuple(records[place] for place in places), ()).states()
        if states and len(places) >= FEWEST:
            away = np.subtract(states[0], np.mean(states[0], axis=0))
            line = fit(np.diff(times[places]).tolist(), np.diff(away, axis=0).tolist())
            times[places] -= away @ line.slopes
    return np.asarray(times - np.median(times))


def change_points(times: Floats) -> list[int]:
    """The places at which a level begins, 0 included, of logarithms in the order of time.

    The noise is read from the differences of neighbours, which a change of the level hardly
    touches; the penalty allows for autoregressive noise of the first order.
    """
    if len(times) < FEWEST:
        return [0]
    # A fifth of the differences may be changes or sessions far off; the deviation is by the rest.
    deviation = np.quantile(np.abs(np.diff(times)), 0.8) / NormalDist().inv_cdf(0.9)
    noise = max(deviation**2 / 2, _LEAST_NOISE**2)
    five = np.lib.stride_tricks.sliding_window_view(np.pad(times, 2, mode="reflect"), 5)
    medians = np.median(five, axis=1)
    far = _FURTHEST * math.sqrt(noise)
    near = medians + np.clip(times - medians, -far, far)
    lengths = np.diff([*(starts := cut(near, _FIRST_PENALTY * noise)), len(near)])
    left = near - np.repeat(np.add.reduceat(near, starts) / lengths, lengths)
    # With variance v and correlation r these are 2 v (1 - r) and 2 v (1 - r * r).
    one, two = np.mean(np.diff(left) ** 2), np.mean((left[2:] - left[:-2]) ** 2)
    correlation = min(max(two / one - 1, 0.0), _MOST_CORRELATED) if one > 0 else 0.0
    variance = max(one / 2 / (1 - correlation), _LEAST_NOISE**2)
    return cut(near, _PENALTY * variance * (1 + correlation) / (1 - correlation))


def cut(times: Floats, penalty: float) -> list[int]:
    """Where levels begin that have the least sum of squares, with a penalty for each of them.

    Optimal partitioning: Jackson et al., doi:10.1109/LSP.2001.838216.
    """
    shortest, count = FEWEST // 2, len(times)
    centred = times - times.mean()  # squares cancel far from zero
    sums = np.concatenate([[0.0], np.cumsum(centred)])
    squares = np.concatenate([[0.0], np.cumsum(centred**2)])
    costs = np.array([0.0, *[np.inf] * count])  # of the times before each place
    starts = np.zeros(count + 1, dtype=int)  # of the level that ends there
    places = np.arange(count + 1)
    for end in range(shortest, count + 1):
        begins = slice(end - shortest + 1)
        sum_of = sums[end] - sums[begins]
        within = squares[end] - squares[begins] - sum_of * sum_of / (end - places[begins])
        total = costs[begins] + within
        starts[end] = total.argmin()
        costs[end] = total[starts[end]] + penalty
    found = [int(starts[count])]
    while found[0]:
        found.insert(0, int(starts[found[0]]))
    return found
