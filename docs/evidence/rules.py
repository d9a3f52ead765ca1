"""The rules of other tools, tried on the same trials."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from recording import Floats, Recording, turns_of

# scipy ships no types. The second code keeps mypy quiet where stubs are installed.
from scipy import special, stats  # type: ignore[import-untyped, unused-ignore]
from trials import BASELINES, SEED, Trial, drawn, in_order

from cnnprec.verdicts.case import Records

RULE_DRAWS = 150
RULE_SLOWDOWNS = (0.10, 0.30)

# criterion.rs takes 100,000. A p value near 0.05 has a standard error of 0.007 with 1,000.
CRITERION_RESAMPLES = 1000


def grew(old: Floats, new: Floats, reduce: Callable[[Floats], Any], percent: float) -> bool:
    """pytest-benchmark's ``--benchmark-compare-fail=FIELD:PERCENT%``."""
    return float(reduce(new)) / float(reduce(old)) * 100 - 100 > percent


@functools.cache
def _picks(seed: int, population: int, size: int) -> npt.NDArray[np.int64]:
    generator = np.random.default_rng([SEED, seed])
    return generator.integers(0, population, (CRITERION_RESAMPLES, size))


def _welch(a: Floats, b: Floats) -> Floats:
    """Welch's t of the last axis."""
    error = a.var(axis=-1, ddof=1) / a.shape[-1] + b.var(axis=-1, ddof=1) / b.shape[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        t: Floats = (a.mean(axis=-1) - b.mean(axis=-1)) / np.sqrt(error)
    return t


def criterion(old: Floats, new: Floats) -> bool:
    """criterion.rs: bootstrap t test below 0.05, and the interval of the change above 1 %."""
    fresh = new[_picks(1, len(new), len(new))].mean(axis=1)
    base = old[_picks(2, len(old), len(old))].mean(axis=1)
    if np.quantile(fresh / base - 1, 0.025) <= 0.01:
        return False
    both = np.concatenate([new, old])
    resampled = both[_picks(0, len(both), len(both))]
    below = np.mean(_welch(resampled[:, : len(new)], resampled[:, len(new) :]) < _welch(new, old))
    return bool(2 * min(below, 1 - below) < 0.05)


def u_test(old: Floats, new: Floats) -> bool:
    """google/benchmark's compare.py: two-sided Mann-Whitney U test below 0.05, and slower."""
    if new.mean() <= old.mean():
        return False
    return bool(stats.mannwhitneyu(old, new, alternative="two-sided").pvalue < 0.05)


def student(old: Floats, new: Floats) -> bool:
    """The rule of pyperf compare_to: two-tailed Student t test at 95 %, and slower."""
    freedom = len(old) + len(new) - 2
    squares = np.sum((old - old.mean()) ** 2) + np.sum((new - new.mean()) ** 2)
    error = math.sqrt(float(squares) / freedom * (1 / len(old) + 1 / len(new)))
    return bool(new.mean() - old.mean() > special.stdtrit(freedom, 0.975) * error)


class Rule(NamedTuple):
    """A rule of another tool."""

    name: str
    slower: Callable[[Floats, Floats], bool]
    """Whether it calls the second list of turns slower than the first."""
    against: tuple[int, ...] = (1, *BASELINES)
    """Of how many sessions it takes the turns as its baseline; 1 is the latest alone."""


RULES = (
    Rule("pytest-benchmark `min:5%`", functools.partial(grew, reduce=np.min, percent=5), (1,)),
    Rule("pytest-benchmark `mean:5%`", functools.partial(grew, reduce=np.mean, percent=5), (1,)),
    Rule("criterion.rs", criterion),
    Rule("google/benchmark U test", u_test),
    Rule("pyperf t test", student),
)

WAYS = tuple((rule, count) for rule in RULES for count in rule.against)


class Rated(NamedTuple):
    """How a rule does; an alarm is a suite with any precision called slower."""

    alarms: int
    trials: int
    drawn: float
    """Alarms as a share of the random draws."""
    power: Mapping[float, float]
    """Detection rate by slowdown of one precision, over all precisions."""


@functools.cache
def rate(recording: Recording, rule: Rule, sessions: int) -> Rated:
    """Rates a rule against the pooled turns of the last so many baseline sessions."""
    names = recording.precisions
    # The latest session is that of the same trials as those of five sessions.
    count = max(sessions, min(BASELINES))

    def rounds(some: Sequence[Records], name: str) -> Floats:
        return np.concatenate([turns_of(s[name]).step_seconds for s in some])

    def slower(trial: Trial, name: str, factor: float = 1) -> bool:
        old, new = rounds(trial.baseline[-sessions:], name), rounds([trial.current], name)
        return rule.slower(old, new * factor)

    ordered = [any(slower(t, name) for name in names) for t in in_order(recording, count)]
    draws = tuple(drawn(recording, count, RULE_DRAWS))
    alarms = [any(slower(t, name) for name in names) for t in draws]
    power = {}
    for slowdown in RULE_SLOWDOWNS:
        found = [slower(t, name, 1 + slowdown) for t in draws for name in names]
        power[slowdown] = sum(found) / len(found)
    return Rated(sum(ordered), len(ordered), sum(alarms) / RULE_DRAWS, power)
