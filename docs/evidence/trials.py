"""Trials on recorded sessions, in which nothing changed but a slowdown put in on purpose.

Every verdict is that of `cnnprec.verdicts.compare`. All randomness is seeded. The draws of one
number of baseline sessions are the same everywhere; what needs fewer of them takes the first.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from recording import Recording, turns_of

# scipy ships no types. The second code keeps mypy quiet where stubs are installed.
from scipy import special  # type: ignore[import-untyped, unused-ignore]

from cnnprec.verdicts.case import Records
from cnnprec.verdicts.compare import compare
from cnnprec.verdicts.verdict import DEFAULT_TOLERANCE, Comparison, Limits, Verdict

BASELINES = (5, 8)
"""Numbers of baseline sessions, written m in the tables."""

GAPS = (0, 10, 30)
"""Numbers of sessions left out between a baseline and the session that it judges."""

PAIRS = (6, 12)
"""Numbers of pairs, those of the looks of ``cnnprec ab``."""

SLOWDOWNS = (0.03, 0.05, 0.10, 0.20, 0.30, 0.50)
"""Of one precision. Those of `TOGETHER` are also put into all at once."""

TOGETHER = (0.03, 0.05, 0.10, 0.30)

ONE, EACH, ALL = "one alone, mean", "all at once, each", "all at once, their mean"

SEED = 20261123
ALARM_DRAWS = 800
BOOTSTRAPS = 1000
POWER_DRAWS = 200
CALIBRATION_DRAWS = 300


@dataclasses.dataclass(frozen=True)
class Trial:
    """A session to judge and the sessions to judge it by, all of the same code."""

    baseline: tuple[Records, ...]
    current: Records

    def judge(self, limits: Limits | None = None) -> Comparison:
        """What the suite says."""
        return compare(self.baseline, self.current, limits=limits)

    def slowed(self, factor: float, names: Iterable[str]) -> Trial:
        """The same trial with the turns of these precisions longer in the new session."""
        changed = dict(self.current)
        for name in names:
            turns = turns_of(changed[name])
            longer = tuple(seconds * factor for seconds in turns.seconds)
            changed[name] = dataclasses.replace(
                changed[name], turns=dataclasses.replace(turns, seconds=longer)
            )
        return Trial(self.baseline, changed)

    def without_calibrators(self) -> Trial:
        """The same trial as if no calibrator had run."""
        return Trial(tuple(map(_bare, self.baseline)), _bare(self.current))

    def finds(self, slowdown: float, name: str) -> bool:
        """Whether the speed of a precision fails if it is slower."""
        return self.finds_all(slowdown, [name])[0] == [True]

    def finds_all(self, slowdown: float, names: Sequence[str]) -> tuple[list[bool], bool]:
        """Whether the speed of each, and that of all, fails if these precisions are slower."""
        judged = self.slowed(1 + slowdown, names).judge()
        failed = [judged.of("speed", name).verdict is Verdict.FAIL for name in (*names, "")]
        return failed[:-1], failed[-1]


def _bare(session: Records) -> Records:
    return {
        name: dataclasses.replace(
            record, turns=record.turns and dataclasses.replace(record.turns, calibrators=())
        )
        for name, record in session.items()
    }


def in_order(recording: Recording, count: int, gap: int = 0) -> Iterator[Trial]:
    """Each session with the ``count`` sessions before it, ``gap`` sessions left out between.

    All are of one stretch.
    """
    for sessions in recording.stretches:
        for end in range(count, len(sessions) - gap):
            yield Trial(sessions[end - count : end], sessions[end + gap])


def drawn(recording: Recording, count: int, trials: int) -> Iterator[Trial]:
    """Trials of ``count + 1`` sessions drawn without replacement, the same on every call.

    All are of one stretch, which is drawn by its size.
    """
    generator = np.random.default_rng([SEED, count])
    sizes = np.array([len(stretch) for stretch in recording.stretches])
    for _ in range(trials):
        stretch = recording.stretches[generator.choice(len(sizes), p=sizes / sizes.sum())]
        *old, new = generator.permutation(len(stretch))[: count + 1]
        yield Trial(tuple(stretch[i] for i in old), stretch[new])


def in_pairs(recording: Recording, count: int) -> Iterator[Sequence[tuple[Records, Records]]]:
    """Neighbours as ``cnnprec ab`` has them: sessions 1 and 2 as A and B, 3 and 4 as B and A, ...

    The first window has the first ``count`` pairs, the next starts a pair later. Each is a plan
    with one look.
    """
    for sessions in recording.stretches:
        two = zip(sessions[::2], sessions[1::2], strict=False)
        pairs = [(b, a) if number % 2 else (a, b) for number, (a, b) in enumerate(two)]
        for start in range(len(pairs) - count + 1):
            yield pairs[start : start + count]


def duet_slower(pairs: Sequence[tuple[Records, Records]], name: str) -> bool:
    """Whether duet benchmarking's estimate calls B slower than A in this precision.

    The mean of the logarithms of B over A, turn by turn, with a hierarchical bootstrap over pairs
    and turns: slower if its 95 % interval lies above 0.
    """
    ratios = np.array(
        [
            np.log(turns_of(b[name]).step_seconds) - np.log(turns_of(a[name]).step_seconds)
            for a, b in pairs
        ]
    )
    count, turns = ratios.shape
    random = np.random.default_rng(SEED)
    chosen = random.integers(count, size=(BOOTSTRAPS, count, 1))
    means = ratios[chosen, random.integers(turns, size=(BOOTSTRAPS, count, turns))].mean((1, 2))
    return bool(np.quantile(means, 0.025) > 0)


def upper_bound(hits: int, trials: int, confidence: float = 0.95) -> float:
    """Clopper and Pearson's one-sided upper bound of a share of independent trials.

    Raises:
        ValueError: No trial, or more hits than trials.
    """
    if not 0 <= hits <= trials or not trials:
        raise ValueError(f"{hits} of {trials} is no share; give at least one trial")
    if hits == trials:
        return 1.0
    return float(special.betaincinv(hits + 1, trials - hits, confidence))


class Alarms:
    """What comparisons in which nothing changed came to.

    Attributes:
        trials: How many.
        verdicts: How often the whole comparison came to each verdict.
        speeds: How often a judgement on speed came to each verdict.
        causes: How many trials have a FAIL of this metric or clock.
        alarms: Those in which any judgement is FAIL.
        share: Alarms per trial.
    """

    def __init__(self, comparisons: Iterable[Comparison]) -> None:
        self.verdicts: Counter[Verdict] = Counter()
        self.speeds: Counter[Verdict] = Counter()
        self.causes: Counter[str] = Counter()
        for comparison in comparisons:
            judgements = comparison.judgements
            self.verdicts[comparison.verdict] += 1
            self.speeds.update(j.verdict for j in judgements if j.metric == "speed")
            failed = {j.quantity or j.metric.value for j in judgements if j.verdict is Verdict.FAIL}
            self.causes.update(failed)
        self.trials, self.alarms = self.verdicts.total(), self.verdicts[Verdict.FAIL]
        self.share = self.alarms / self.trials


@functools.cache
def alarms_in_order(
    recording: Recording,
    count: int,
    tolerance: float = DEFAULT_TOLERANCE,
    gap: int = 0,
    calibrated: bool = True,
) -> Alarms:
    """Each session judged by those just before it, as a user meets it."""
    limits = Limits(tolerance=tolerance)
    trials = in_order(recording, count, gap)
    return Alarms((t if calibrated else t.without_calibrators()).judge(limits) for t in trials)


@functools.cache
def alarms_drawn(recording: Recording, count: int, tolerance: float = DEFAULT_TOLERANCE) -> Alarms:
    """Sessions drawn at random: many trials, but of the same few sessions."""
    limits = Limits(tolerance=tolerance)
    return Alarms(trial.judge(limits) for trial in drawn(recording, count, ALARM_DRAWS))


@functools.cache
def power(recording: Recording, count: int) -> Mapping[str, Mapping[float, float]]:
    """Detection rate by what is slower and by how much.

    Each draw slows one precision, in turn, and then all of them.
    """
    names = recording.precisions
    rows = {f"{name} alone": SLOWDOWNS for name in names}
    rows |= {ONE: SLOWDOWNS, EACH: TOGETHER, ALL: TOGETHER}
    found: dict[str, dict[float, list[float]]]
    found = {row: {slowdown: [] for slowdown in some} for row, some in rows.items()}
    for name, trial in zip(itertools.cycle(names), drawn(recording, count, POWER_DRAWS)):
        for slowdown in SLOWDOWNS:
            hit = trial.finds(slowdown, name)
            found[f"{name} alone"][slowdown].append(hit)
            found[ONE][slowdown].append(hit)
        for slowdown in TOGETHER:
            hits, mean = trial.finds_all(slowdown, list(trial.current))
            found[EACH][slowdown].append(sum(hits) / len(hits))
            found[ALL][slowdown].append(mean)
    return {row: {s: sum(v) / len(v) for s, v in rates.items()} for row, rates in found.items()}


@functools.cache
def calibration(recording: Recording, count: int) -> Mapping[str, tuple[float, float]]:
    """By precision: the median of the effects that the trials state, and how often it is found.

    In each trial the slowdown is exactly the minimum detectable effect that this trial states.
    """
    names = recording.precisions
    stated: dict[str, list[float]] = {name: [] for name in names}
    found: Counter[str] = Counter()
    for trial in drawn(recording, count, CALIBRATION_DRAWS):
        null = trial.judge()
        for name, effects in stated.items():
            effects.append(null.of("speed", name).estimate.detectable)
            found[name] += trial.finds(effects[-1], name)
    return {n: (float(np.median(e)), found[n] / len(e)) for n, e in stated.items()}
