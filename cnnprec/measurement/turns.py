"""Timed turns: every precision trains for a tenth of a second, in a new order each time.

Short turns let every precision, and the calibrators between them, meet the same seconds of a
machine whose speed wanders (docs/comparing.md).
"""

import math
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from cnnprec.measurement.calibrators import CALIBRATORS
from cnnprec.verdicts.statistics import fastest_third, geometric_mean

TURN_SECONDS = 0.1  # aim for the length of a precision's part of a turn
ALONE = " on one device"  # ends the name of the turns of one device beside those of replicas
# Warm-up ends when the last turns are no longer faster than those before them by more than this.
_STILL_FASTER = 0.02
_WINDOW = 2
_MOST_WARM_UP = 12


def steps_for(step_seconds: float) -> int:
    """Steps of so many seconds that fill a turn, at least 1."""
    return max(1, round(TURN_SECONDS / step_seconds))


class Timing:
    """Takes turns of the workers by name, in orders drawn from the seed, and keeps their times."""

    def __init__(self, workers: Mapping[str, Callable[[], None]], seed: int) -> None:
        self._workers = dict(workers)
        self._calibrators = {row.name: row.prepare() for row in CALIBRATORS}
        self._random = random.Random(seed)  # noqa: S311
        self._turn = 0
        self.warm_up = 0
        self.steady = False
        self.clock: dict[str, list[tuple[float, float]]] = {name: [] for name in workers}
        self.calibrator_seconds: dict[str, list[float]] = {row.name: [] for row in CALIBRATORS}

    def warm(self, agree: Callable[[float], float] = float) -> None:
        """Takes turns that do not count until they are steady, or there were enough of them.

        `agree` is a mean over all processes that take the same turns.
        """
        while not self.steady and self.warm_up < _MOST_WARM_UP:
            self.take()
            self.warm_up += 1
            self.steady = agree(self._is_steady()) == 1
        self.clock = {name: [] for name in self.clock}
        self.calibrator_seconds = {name: [] for name in self.calibrator_seconds}

    def take(self) -> None:
        """One turn: all precisions and some calibrators, in a new order."""
        names = list(self.clock)
        # As many calibrators as precisions keep their share of the time; the others come next.
        count, first = len(names), self._turn * len(names)
        chosen = [CALIBRATORS[(first + i) % len(CALIBRATORS)].name for i in range(count)]
        jobs = [(True, name) for name in names] + [(False, name) for name in chosen]
        self._random.shuffle(jobs)
        for trains, name in jobs:
            if not trains:
                work = self._calibrators[name]
                start = time.perf_counter()
                work()
                self.calibrator_seconds[name].append(time.perf_counter() - start)
            elif name in self.clock:
                start = time.perf_counter()
                self._workers[name]()
                self.clock[name].append((start, time.perf_counter()))
        self._turn += 1

    def note(self, name: str, seconds: float) -> None:
        """Keeps a time that tells the machine's state beside the calibrators'."""
        self.calibrator_seconds.setdefault(name, []).append(seconds)

    def drop(self, name: str) -> None:
        """Leaves a precision out of the turns to come."""
        del self.clock[name]

    def seconds(self, name: str) -> tuple[float, ...]:
        """The times of a precision's turns, in seconds, to the nanosecond."""
        return tuple(round(end - start, 9) for start, end in self.clock.get(name, ()))

    def calibrators(self) -> tuple[tuple[str, float], ...]:
        """Name and usual seconds of each calibrator, and of what was noted."""
        return tuple(
            (name, geometric_mean(fastest_third(times)))
            for name, times in self.calibrator_seconds.items()
            if times
        )

    def _is_steady(self) -> bool:
        times = [self.seconds(name) for name in self.clock]
        if not times or min(map(len, times)) < 2 * _WINDOW:
            return False
        before, last = _mean_log(times, -2 * _WINDOW, -_WINDOW), _mean_log(times, -_WINDOW, None)
        return before - last < _STILL_FASTER


def _mean_log(times: Sequence[Sequence[float]], start: int, end: int | None) -> float:
    return statistics.fmean(math.log(value) for row in times for value in row[start:end])
