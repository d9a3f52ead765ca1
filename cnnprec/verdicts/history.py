"""All saved sessions of one machine and workload: how their times moved, and where they changed.

`ruptures` finds the changes: of all ways to cut a series into levels it takes the one with the
least sum of squares about them plus a penalty for each cut (PELT: Killick, Fearnhead and Eckley,
doi:10.1080/01621459.2012.737745). docs/history.md has the false alarms and the power.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from ruptures import KernelCPD  # type: ignore[import-untyped, unused-ignore]

from cnnprec.records.read_sessions import SavedSession, age
from cnnprec.records.record import Record
from cnnprec.verdicts.baseline import unlike
from cnnprec.verdicts.case import clocks, figure, machine_state
from cnnprec.verdicts.regression import fit

Floats = npt.NDArray[np.float64]

SHORTEST = 5
"""Sessions that a level has at least."""

FEWEST = 2 * SHORTEST
"""Sessions that are needed to look for a change."""

# What a cut has to gain: first in variances of the noise, then, as the correlation of neighbours is
# known, in long-run variances.
_FIRST_PENALTY, _PENALTY = 40.0, 15.0
_LEAST_NOISE = 0.002  # relative: equal times would show changes too small to matter
_MOST_CORRELATED = 0.8
_FURTHEST = 3.0  # a session further from the median of five counts as so many deviations only
_LEFT_OUT = 4  # differences of neighbours: two steps or two sessions far off make so many


@dataclasses.dataclass(frozen=True)
class History:
    """The sessions of one machine and workload, and what became of their times.

    Attributes:
        quantity: What the times are, such as ``"time per step"``.
        sessions: Oldest first.
        times: By precision the logarithm of each session's time over the median of all, given the
            calibrators.
        starts: By precision the places of the sessions that begin a level, the first one included.
        left_out: The other sessions, and how they differ from the newest one.
    """

    quantity: str
    sessions: tuple[SavedSession, ...]
    times: Mapping[str, Sequence[float]]
    starts: Mapping[str, Sequence[int]]
    left_out: tuple[tuple[SavedSession, str], ...]

    def levels(self, name: str) -> list[float]:
        """The mean of the times at each level of a precision."""
        ends = [*self.starts[name][1:], len(self.sessions)]
        spans = zip(self.starts[name], ends, strict=True)
        return [statistics.fmean(self.times[name][start:end]) for start, end in spans]


def history(sessions: Sequence[SavedSession], precisions: Sequence[str] = ()) -> History:
    """Puts the sessions of the newest one's machine and workload in a row and judges them.

    Sessions that failed or were slower than their baseline are among them: a slowdown that lasts
    is what this looks for.

    Args:
        sessions: At least one, in any order.
        precisions: Names; none for all of the newest session.

    Raises:
        ValueError: The newest session lacks one of the precisions.
    """
    *_, newest = ordered = sorted(sessions, key=age)
    if missing := [name for name in precisions if name not in newest.records]:
        raise ValueError(
            f"precision {', '.join(missing)}: the newest session, {newest.path}, did not measure "
            f"it; give one or more of {', '.join(newest.records)}"
        )
    names = precisions or tuple(newest.records)
    clock = clocks(newest.records[names[0]])[0]
    kept, left_out = [], []
    for session in ordered:
        reasons = [str(difference) for difference in unlike(session, newest.records, None)]
        for name in names:
            record = session.records.get(name)
            if record is None or figure(record, clock.field) is None:
                reasons.append(f"no {clock.name} of {name}")
        if reasons:
            left_out.append((session, "; ".join(reasons)))
        else:
            kept.append(session)
    times = {name: _times([s.records[name] for s in kept], clock.field) for name in names}
    starts = {name: change_points(np.asarray(series)) for name, series in times.items()}
    return History(clock.name, tuple(kept), times, starts, tuple(left_out))


def _times(records: Sequence[Record], field: str) -> list[float]:
    """The logarithms less what the machine's state explains, where calibrators tell it.

    Calibrators compare only where they did the same work with the same Python and NumPy. The slope
    is that of the rule, fitted to the differences of neighbours: a change of the level that lasts
    is one of them only, so it is not mistaken for the machine's.
    """
    times = [math.log(figure(record, field) or 1.0) for record in records]
    alike: dict[object, dict[int, float]] = {}
    for place, record in enumerate(records):
        if record.turns and (state := machine_state(record)) is not None:
            rows = tuple(name for name, _ in record.turns.calibrators)
            software = record.environment.python, record.environment.numpy, rows
            alike.setdefault(software, {})[place] = state
    for states in alike.values():
        pairs = list(itertools.pairwise(states))
        moves = [states[b] - states[a] for a, b in pairs]
        slope = fit([times[b] - times[a] for a, b in pairs], moves).slope if pairs else 0.0
        usual = statistics.fmean(states.values())
        for place, state in states.items():
            times[place] -= slope * (state - usual)
    median = statistics.median(times)
    return [time - median for time in times]


def change_points(times: Floats) -> list[int]:
    """The places at which a level begins, 0 included, of logarithms in the order of time.

    The noise is read from the differences of neighbours, which a change of the level hardly
    touches. Sessions resemble their neighbours, which moves the mean of a level by chance. So the
    penalty is in long-run variances, of autoregressive noise of the first order.
    """
    if len(times) < FEWEST:
        return [0]
    noise = max(_trimmed_variance(np.diff(times)) / 2, _LEAST_NOISE**2)
    far = _FURTHEST * math.sqrt(noise)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(times, 2, mode="reflect"), 5)
    medians = np.median(windows, axis=1)
    near = medians + np.clip(times - medians, -far, far)
    lengths = np.diff([*(starts := _cut(near, _FIRST_PENALTY * noise)), len(near)])
    left = near - np.repeat(np.add.reduceat(near, starts) / lengths, lengths)
    # With variance v and correlation r these are 2 v (1 - r) and 2 v (1 - r * r).
    one, two = np.mean(np.diff(left) ** 2), np.mean((left[2:] - left[:-2]) ** 2)
    correlation = min(max(two / one - 1, 0.0), _MOST_CORRELATED) if one > 0 else 0.0
    variance = max(one / 2 / (1 - correlation), _LEAST_NOISE**2)
    return _cut(near, _PENALTY * variance * (1 + correlation) / (1 - correlation))


def _cut(times: Floats, penalty: float) -> list[int]:
    # The mean is taken off because the library sums squares, which cancel far from zero.
    signal = (times - times.mean()).reshape(-1, 1)
    ends = KernelCPD(kernel="linear", min_size=SHORTEST).fit_predict(signal, pen=penalty)
    return [0, *(int(end) for end in ends[:-1])]


def _trimmed_variance(differences: Floats) -> float:
    """The mean square without the largest, as large as normal noise would have it whole."""
    squares = np.sort(differences**2)
    kept = max(len(squares) - _LEFT_OUT, len(squares) // 2)
    normal = statistics.NormalDist()
    end = normal.inv_cdf((1 + kept / len(squares)) / 2)
    share = 1 - 2 * end * normal.pdf(end) * len(squares) / kept
    return float(squares[:kept].mean()) / share
