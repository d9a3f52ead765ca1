"""Recomputes the figures of README.md from the sessions in sessions.json.

Two tables also read the earlier recordings, sessions-first.json and those after it.

``recompute.py collect FOLDER`` writes sessions.json from a folder of saved sessions;
``recompute.py`` prints every table; ``--table NAME`` prints one; ``--write`` puts the tables
into README.md and draws evidence.png; ``--out FOLDER`` writes tables and plot there instead.

Every verdict comes from `cnnprec.compare.compare` on rebuilt records. All randomness is seeded,
so the same sessions give the same tables.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

# scipy ships no types. The second code keeps mypy quiet where stubs are installed.
from scipy import special, stats  # type: ignore[import-untyped, unused-ignore]

from cnnprec import compare
from cnnprec.baseline import SavedSession, load_sessions
from cnnprec.compare import Comparison, Judgement, Limits, Records, Verdict
from cnnprec.fingerprint import differences
from cnnprec.inference import POWER, Location, location
from cnnprec.record import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

HERE = Path(__file__).parent
DATA = HERE / "sessions.json"
EARLIER: Mapping[str, Path] = MappingProxyType(
    {name: HERE / f"sessions-{name}.json" for name in ("first", "second", "third")}
)
README = HERE / "README.md"
PLOT = "evidence.png"

LAYOUT = 1
"""Version of the layout of sessions.json."""

MOST_BYTES = 150_000
"""sessions.json stays small enough to be read in a review."""

COLUMNS = ("seconds", "cpu_seconds", "peak_memory_bytes", "run")
"""What is kept of a round; ``run`` is its place in the list of distinct runs."""

CLOCKS: Mapping[str, str] = MappingProxyType({"wall time": "seconds", "CPU time": "cpu_seconds"})

BASELINES = (5, 10, 20)
"""Numbers of baseline sessions."""

GAPS = (0, 10, 30)
"""Numbers of sessions left out between a baseline and the session that it judges."""

PAIRS = (6, 12, 24)
"""Numbers of pairs, those of the looks of ``cnnprec ab``."""

SLOWDOWNS = (0.03, 0.05, 0.10, 0.20, 0.30, 0.50)
"""Injected into one precision. The table of all at once has those of `TOGETHER`."""

TOGETHER = (0.03, 0.05, 0.10, 0.30)

TARGET_ALARMS = 0.05
TARGET_MISS = 0.05
"""How far the detection rate at the stated effect may be from `POWER`."""

SEED = 20261123
# Together these take a minute or two on one core. The draws of one number of baseline sessions
# are the same in every table; a table that needs fewer takes the first.
ALARM_DRAWS = 800
POWER_DRAWS = 200
CALIBRATION_DRAWS = 300
RULE_DRAWS = 150
RESAMPLES = 2000
# criterion.rs takes 100,000. A p value near 0.05 has a standard error of 0.007 with 1,000.
CRITERION_RESAMPLES = 1000


# --- The file ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """Recorded sessions of the same code on the same machine.

    Attributes:
        sessions: Their records by the name of the precision, oldest first.
        saved_at: When each was saved, ISO 8601 in UTC.
    """

    sessions: tuple[Records, ...]
    saved_at: tuple[str, ...]

    @property
    def precisions(self) -> tuple[str, ...]:
        """The names of the precisions, in the order of the file."""
        return tuple(self.sessions[0])

    @property
    def baselines(self) -> tuple[int, ...]:
        """Those of `BASELINES` for which there are sessions enough."""
        return tuple(count for count in BASELINES if count < len(self.sessions))


def compact(sessions: Sequence[SavedSession]) -> dict[str, Any]:
    """Sessions as the JSON types of sessions.json: what they share once, and their rounds.

    No host name and no path is kept: pytest-benchmark's block on the machine is not read, and
    the folder of the images is left out. Times are kept to a microsecond.

    Args:
        sessions: At least two of the same machine, workload and stack, oldest first.

    Raises:
        ValueError: Fewer than two sessions; they differ in machine, workload, stack or
            precisions; a round without a time, or one of a GPU.
    """
    if len(sessions) < 2:
        raise ValueError(f"{len(sessions)} sessions have no spread; give a folder with at least 2")
    first = dict(sorted(sessions[0].records.items()))
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in first}
    rows = []
    for session in sessions:
        _check_alike(session, first)
        rounds = {name: _rows(session.records[name], runs[name]) for name in first}
        rows.append({"saved_at": session.saved_at.isoformat(), "rounds": rounds})
    shared = next(iter(first.values())).to_dict()
    return {
        "layout": LAYOUT,
        "schema_version": shared["schema_version"],
        "config": shared["config"],
        "data": {**shared["data"], "source": ""},
        "environment": shared["environment"],
        "jit_compiled": shared["jit_compiled"],
        "precisions": {name: record.to_dict()["precision"] for name, record in first.items()},
        "runs": runs,
        "columns": list(COLUMNS),
        "sessions": rows,
    }


def _check_alike(session: SavedSession, first: Records) -> None:
    if set(session.records) != set(first):
        raise ValueError(
            f"{session.path.name}: measured {', '.join(sorted(session.records))}, the first "
            f"session {', '.join(first)}; give sessions of the same --precision"
        )
    for name, record in first.items():
        found = differences(record, session.records[name])
        if found:
            raise ValueError(
                f"{session.path.name}: {name}: {'; '.join(map(str, found))}. Only sessions of one "
                "machine, workload and stack tell what chance alone does; move the others away"
            )


def _rows(record: Record, runs: list[dict[str, Any]]) -> list[list[float]]:
    """The rounds of a record in the order of `COLUMNS`; ``runs`` grows by new runs."""
    rows = []
    for entry, plain in zip(record.rounds, record.to_dict()["rounds"], strict=True):
        times = entry.seconds, entry.cpu_seconds
        if None in times or entry.peak_memory_bytes is None or entry.state is not None:
            raise ValueError(
                f"{record.precision}: a round without a time or peak memory, or one of a GPU; only "
                "timed rounds of a CPU are accepted"
            )
        if plain["run"] not in runs:
            runs.append(plain["run"])
        rows.append(
            [
                *(round(time, 6) for time in times if time is not None),
                entry.peak_memory_bytes,
                runs.index(plain["run"]),
            ]
        )
    return rows


def render(plain: Mapping[str, Any]) -> str:
    """The text of sessions.json: a line for each shared item and one for each session.

    Raises:
        ValueError: It would have more than `MOST_BYTES` bytes.
    """
    head = [
        f"{json.dumps(key)}: {json.dumps(value)}"
        for key, value in plain.items()
        if key != "sessions"
    ]
    body = ",\n".join(json.dumps(session, separators=(",", ":")) for session in plain["sessions"])
    text = "{\n" + ",\n".join(head) + ',\n"sessions": [\n' + body + "\n]\n}\n"
    if len(text) > MOST_BYTES:
        raise ValueError(
            f"sessions.json would have {len(text)} bytes, at most {MOST_BYTES} are accepted; give "
            "fewer sessions"
        )
    return text


def rebuild(plain: Mapping[str, Any]) -> Evidence:
    """The records that `compact` was given, apart from what no verdict reads.

    The times of the warm-up and the diagnosis of a failed training are not kept.

    Raises:
        ValueError: The layout is of another version, or a record is not valid.
    """
    if plain.get("layout") != LAYOUT:
        raise ValueError(
            f"sessions of layout {plain.get('layout')!r}; {LAYOUT} is accepted. Write them again "
            "with recompute.py collect FOLDER"
        )

    def record(name: str, rows: Sequence[Sequence[Any]]) -> Record:
        rounds = []
        for row in rows:
            values = dict(zip(plain["columns"], row, strict=True))
            rounds.append({**values, "run": plain["runs"][name][values["run"]], "state": None})
        return Record.from_dict(
            {
                "precision": plain["precisions"][name],
                **{key: plain[key] for key in ("config", "data", "environment", "jit_compiled")},
                "warm_up_seconds": None,
                "rounds": rounds,
                "diagnosis": None,
                "schema_version": plain["schema_version"],
            }
        )

    return Evidence(
        sessions=tuple(
            {name: record(name, rows) for name, rows in session["rounds"].items()}
            for session in plain["sessions"]
        ),
        saved_at=tuple(session["saved_at"] for session in plain["sessions"]),
    )


def read(path: Path = DATA) -> Evidence:
    """Reads sessions.json."""
    return rebuild(json.loads(path.read_text(encoding="utf-8")))


def collect(folder: Path, path: Path = DATA) -> int:
    """Writes sessions.json from a folder of saved sessions and returns their number.

    Raises:
        ValueError: A file in it is no saved session, or `compact` refuses them.
    """
    sessions, skipped = load_sessions(folder)
    if skipped:
        raise ValueError(
            "; ".join(f"{skip.path.name}: {skip.reason}" for skip in skipped)
            + ". Only whole sessions are accepted; move the others away"
        )
    path.write_text(render(compact(sessions)), encoding="utf-8")
    return len(sessions)


# --- Trials -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Trial:
    """A session to judge and the sessions to judge it by, all of the same code.

    Attributes:
        baseline: Oldest first, or in the order of the draw.
        current: The session to judge.
    """

    baseline: tuple[Records, ...]
    current: Records

    def judge(self, limits: Limits | None = None) -> Comparison:
        """What the suite says."""
        return compare.compare(self.baseline, self.current, limits=limits)

    def slowed(self, factor: float, names: Iterable[str]) -> Trial:
        """The same trial with both clocks of these precisions multiplied in the new session."""
        changed = {
            name: dataclasses.replace(
                self.current[name],
                rounds=tuple(
                    dataclasses.replace(
                        entry,
                        seconds=_times(entry.seconds, factor),
                        cpu_seconds=_times(entry.cpu_seconds, factor),
                    )
                    for entry in self.current[name].rounds
                ),
            )
            for name in names
        }
        return Trial(self.baseline, {**self.current, **changed})

    def without_wall(self) -> Trial:
        """The same trial with all wall times equal, so that only the first clock can speak."""

        def still(records: Records) -> Records:
            return {
                name: dataclasses.replace(
                    record,
                    rounds=tuple(dataclasses.replace(e, seconds=1.0) for e in record.rounds),
                )
                for name, record in records.items()
            }

        return Trial(tuple(still(records) for records in self.baseline), still(self.current))


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def in_order(evidence: Evidence, count: int, gap: int = 0) -> Iterator[Trial]:
    """Each session with the ``count`` sessions before it, ``gap`` sessions left out between."""
    for end in range(count, len(evidence.sessions) - gap):
        yield Trial(evidence.sessions[end - count : end], evidence.sessions[end + gap])


def drawn(evidence: Evidence, count: int, trials: int) -> Iterator[Trial]:
    """Trials of ``count + 1`` sessions drawn without replacement, the same on every call."""
    generator = np.random.default_rng([SEED, count])
    for _ in range(trials):
        *old, new = generator.permutation(len(evidence.sessions))[: count + 1]
        yield Trial(tuple(evidence.sessions[i] for i in old), evidence.sessions[new])


def upper_bound(hits: int, trials: int, confidence: float = 0.95) -> float:
    """Clopper and Pearson's one-sided upper bound of a share of independent trials."""
    if not 0 <= hits <= trials or not trials:
        raise ValueError(f"{hits} of {trials} is no share; give at least one trial")
    if hits == trials:
        return 1.0
    return float(special.betaincinv(hits + 1, trials - hits, confidence))


# --- Noise ------------------------------------------------------------------------------------


def logs(evidence: Evidence, name: str, field: str, kind: Location) -> Floats:
    """Logarithm of one location of the rounds of each session, shape ``(sessions,)``."""
    return np.log(
        [
            location([getattr(entry, field) for entry in session[name].rounds], kind)
            for session in evidence.sessions
        ]
    )


def autocorrelation(values: Floats) -> float:
    """Lag-1 autocorrelation of a series of more than one value that is not constant."""
    centred = values - values.mean()
    return float(np.sum(centred[1:] * centred[:-1]) / np.sum(centred**2))


@dataclasses.dataclass(frozen=True)
class Spread:
    """Spread between sessions of one clock and location, all as standard deviations of logs.

    Attributes:
        by_precision: Of each precision.
        total: Root mean square over the precisions.
        low, high: 95 % percentile interval of ``total`` from resampled sessions.
        resampled: ``total`` of each resample, shape ``(RESAMPLES,)``.
    """

    by_precision: Mapping[str, float]
    total: float
    low: float
    high: float
    resampled: Floats


@functools.lru_cache
def spreads(evidence: Evidence) -> Mapping[tuple[str, Location], Spread]:
    """The spread of every clock and location; sessions are resampled whole."""
    size = len(evidence.sessions)
    picks = np.random.default_rng(SEED).integers(0, size, (RESAMPLES, size))
    found = {}
    for (clock, field), kind in itertools.product(CLOCKS.items(), Location):
        values = np.stack([logs(evidence, name, field, kind) for name in evidence.precisions])
        deviations = values.std(axis=1, ddof=1)
        resampled = np.sqrt(values[:, picks].var(axis=2, ddof=1).mean(axis=0))
        low, high = np.quantile(resampled, (0.025, 0.975))
        found[clock, kind] = Spread(
            dict(zip(evidence.precisions, map(float, deviations), strict=True)),
            float(np.sqrt(np.mean(deviations**2))),
            float(low),
            float(high),
            resampled,
        )
    return MappingProxyType(found)


def chosen(evidence: Evidence) -> tuple[str, Location]:
    """The clock and the location that decide on the speed in `cnnprec.compare`."""
    record = evidence.sessions[0][evidence.precisions[0]]
    # The location has no public name.
    return compare.sizes(record)[0].name, compare._LOCATION


# --- Alarms, power, calibration ---------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Alarms:
    """What trials without any change came to.

    Attributes:
        trials: How many.
        alarms: Those in which any judgement is FAIL.
        verdicts: How often the whole comparison came to each verdict.
        speeds: How often a judgement on speed came to each verdict.
        causes: How many trials have a FAIL of this metric and clock.
    """

    trials: int
    alarms: int
    verdicts: Mapping[Verdict, int]
    speeds: Mapping[Verdict, int]
    causes: Mapping[str, int]

    @property
    def share(self) -> float:
        """Alarms per trial."""
        return self.alarms / self.trials


def count_alarms(comparisons: Iterable[Comparison]) -> Alarms:
    """Counts the verdicts of trials in which nothing changed."""
    trials = 0
    verdicts: Counter[Verdict] = Counter()
    speeds: Counter[Verdict] = Counter()
    causes: Counter[str] = Counter()
    for comparison in comparisons:
        trials += 1
        verdicts[comparison.verdict] += 1
        speeds.update(j.verdict for j in comparison.judgements if j.metric == "speed")
        failed = [j for j in comparison.judgements if j.verdict is Verdict.FAIL]
        causes.update({j.clock or j.metric for j in failed})
    return Alarms(trials, verdicts[Verdict.FAIL], verdicts, speeds, causes)


@functools.lru_cache
def alarms_in_order(evidence: Evidence, count: int, tolerance: float) -> Alarms:
    """Each session judged by those just before it, as a user meets it."""
    limits = Limits(tolerance=tolerance)
    return count_alarms(trial.judge(limits) for trial in in_order(evidence, count))


@functools.lru_cache
def alarms_drawn(evidence: Evidence, count: int, tolerance: float) -> Alarms:
    """Sessions drawn at random: many trials, but of the same few sessions."""
    limits = Limits(tolerance=tolerance)
    return count_alarms(trial.judge(limits) for trial in drawn(evidence, count, ALARM_DRAWS))


def _found(judgement: Judgement) -> bool:
    return judgement.verdict is Verdict.FAIL


@functools.lru_cache
def power_alone(evidence: Evidence, count: int) -> Mapping[str, Mapping[float, float]]:
    """Detection rate by precision and slowdown; each draw slows one precision, in turn."""
    names = evidence.precisions
    hits = {name: dict.fromkeys(SLOWDOWNS, 0) for name in names}
    trials: Counter[str] = Counter()
    for name, trial in zip(itertools.cycle(names), drawn(evidence, count, POWER_DRAWS)):
        trials[name] += 1
        for slowdown in SLOWDOWNS:
            judged = trial.slowed(1 + slowdown, [name]).judge()
            hits[name][slowdown] += _found(judged.of("speed", name))
    return {name: {s: n / trials[name] for s, n in hits[name].items()} for name in names}


@functools.lru_cache
def power_together(evidence: Evidence, count: int) -> Mapping[float, tuple[float, float]]:
    """By slowdown of all precisions at once: mean detection rate, and that of at least one."""
    names = evidence.precisions
    each, some = dict.fromkeys(TOGETHER, 0.0), dict.fromkeys(TOGETHER, 0)
    for trial in drawn(evidence, count, POWER_DRAWS):
        for slowdown in TOGETHER:
            judged = trial.slowed(1 + slowdown, names).judge()
            found = [_found(judged.of("speed", name)) for name in names]
            each[slowdown] += sum(found) / len(found)
            some[slowdown] += any(found)
    return {s: (each[s] / POWER_DRAWS, some[s] / POWER_DRAWS) for s in TOGETHER}


def mean_power(evidence: Evidence, count: int, slowdown: float) -> float:
    """Detection rate of a slowdown of one precision, over all precisions."""
    rates = power_alone(evidence, count)
    return sum(rates[name][slowdown] for name in evidence.precisions) / len(evidence.precisions)


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Slowdowns of exactly the stated minimum detectable effect.

    Attributes:
        rate: Share that was found.
        rate_first_clock: Share that was found by the clock that the effect is stated for.
        median: Median of the stated effects.
    """

    rate: float
    rate_first_clock: float
    median: float


@functools.lru_cache
def calibration(evidence: Evidence, count: int) -> Mapping[str, Calibration]:
    """By precision: is the effect that each trial states found with probability `POWER`?"""
    clock, _ = chosen(evidence)
    stated: dict[str, list[float]] = {name: [] for name in evidence.precisions}
    found: Counter[str] = Counter()
    by_clock: Counter[str] = Counter()
    for trial in drawn(evidence, count, CALIBRATION_DRAWS):
        null = trial.judge()
        if any(null.of("speed", name).clock != clock for name in stated):
            # Wall time alone failed, and its estimate is shown in place of the first clock's.
            null = trial.without_wall().judge()
        for name, effects in stated.items():
            estimate = null.of("speed", name).estimate
            if estimate is None:
                raise ValueError(f"{name}: no estimate with {count} baseline sessions")
            effects.append(estimate.detectable)
            judged = trial.slowed(1 + estimate.detectable, [name]).judge().of("speed", name)
            found[name] += _found(judged)
            by_clock[name] += _found(judged) and judged.clock == clock
    return {
        name: Calibration(
            found[name] / len(effects), by_clock[name] / len(effects), float(np.median(effects))
        )
        for name, effects in stated.items()
    }


def in_pairs(evidence: Evidence, count: int) -> Iterator[Comparison]:
    """``cnnprec ab`` on neighbours: sessions 1 and 2 as A and B, 3 and 4 as B and A, and so on.

    The first comparison takes the first ``count`` pairs, the next starts a pair later. Each is
    a plan with one look.
    """
    two = zip(evidence.sessions[::2], evidence.sessions[1::2], strict=False)
    pairs = [(b, a) if number % 2 else (a, b) for number, (a, b) in enumerate(two)]
    for start in range(len(pairs) - count + 1):
        yield compare.compare_pairs(pairs[start : start + count])


# --- Rules of other tools ---------------------------------------------------------------------


def grew(old: Floats, new: Floats, reduce: Callable[[Floats], Any], percent: float) -> bool:
    """pytest-benchmark's ``--benchmark-compare-fail=FIELD:PERCENT%``."""
    return float(reduce(new)) / float(reduce(old)) * 100 - 100 > percent


@functools.lru_cache
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
    both = np.concatenate([new, old])
    resampled = both[_picks(0, len(both), len(both))]
    below = np.mean(_welch(resampled[:, : len(new)], resampled[:, len(new) :]) < _welch(new, old))
    if 2 * min(below, 1 - below) >= 0.05:
        return False
    fresh = new[_picks(1, len(new), len(new))].mean(axis=1)
    base = old[_picks(2, len(old), len(old))].mean(axis=1)
    return bool(np.quantile(fresh / base - 1, 0.025) > 0.01)


def u_test(old: Floats, new: Floats) -> bool:
    """google/benchmark's compare.py: two-sided Mann-Whitney U test below 0.05, and slower."""
    p_value = stats.mannwhitneyu(old, new, alternative="two-sided").pvalue
    return bool(p_value < 0.05 and new.mean() > old.mean())


def student(old: Floats, new: Floats) -> bool:
    """The rule of pyperf compare_to: two-tailed Student t test at 95 %, and slower."""
    freedom = len(old) + len(new) - 2
    squares = np.sum((old - old.mean()) ** 2) + np.sum((new - new.mean()) ** 2)
    error = math.sqrt(float(squares) / freedom * (1 / len(old) + 1 / len(new)))
    return bool(new.mean() - old.mean() > special.stdtrit(freedom, 0.975) * error)


@dataclasses.dataclass(frozen=True)
class Rule:
    """A rule of another tool.

    Attributes:
        name: For people.
        slower: Whether it calls the second list of rounds slower than the first.
        pools: Whether it can take the rounds of several sessions as its baseline.
    """

    name: str
    slower: Callable[[Floats, Floats], bool]
    pools: bool = True


RULES = (
    Rule("pytest-benchmark `min:5%`", functools.partial(grew, reduce=np.min, percent=5), False),
    Rule("pytest-benchmark `mean:5%`", functools.partial(grew, reduce=np.mean, percent=5), False),
    Rule("criterion.rs", criterion),
    Rule("google/benchmark U test", u_test),
    Rule("pyperf t test", student),
)

RULE_SLOWDOWNS = (0.10, 0.30)


@dataclasses.dataclass(frozen=True)
class Rated:
    """How a rule does on one clock against one kind of baseline.

    Attributes:
        alarms, trials: Suites with any precision called slower, sessions in order.
        drawn: The same as a share of the random draws.
        power: Detection rate of a slowdown of one precision, by slowdown, over all precisions.
    """

    alarms: int
    trials: int
    drawn: float
    power: Mapping[float, float]


def _rounds(records: Records, name: str, field: str) -> list[float]:
    return [getattr(entry, field) for entry in records[name].rounds]


def _lists(trial: Trial, name: str, field: str, sessions: int) -> tuple[Floats, Floats]:
    """The rounds of the last so many baseline sessions, and those of the new session."""
    old = [value for s in trial.baseline[-sessions:] for value in _rounds(s, name, field)]
    return np.asarray(old), np.asarray(_rounds(trial.current, name, field))


@functools.lru_cache
def rate_rule(evidence: Evidence, rule: Rule, clock: str, sessions: int) -> Rated:
    """Rates a rule against the pooled rounds of so many sessions; 1 is the latest alone."""
    field = CLOCKS[clock]
    names = evidence.precisions
    # The latest session is that of the same trials as those of five sessions.
    count = max(sessions, min(BASELINES))

    def any_slower(trial: Trial) -> bool:
        return any(rule.slower(*_lists(trial, name, field, sessions)) for name in names)

    ordered = [any_slower(trial) for trial in in_order(evidence, count)]
    alarms = 0
    found: Counter[float] = Counter()
    for trial in drawn(evidence, count, RULE_DRAWS):
        alarms += any_slower(trial)
        for name, slowdown in itertools.product(names, RULE_SLOWDOWNS):
            old, new = _lists(trial, name, field, sessions)
            found[slowdown] += rule.slower(old, new * (1 + slowdown))
    return Rated(
        sum(ordered),
        len(ordered),
        alarms / RULE_DRAWS,
        {s: found[s] / (RULE_DRAWS * len(names)) for s in RULE_SLOWDOWNS},
    )


def rated_rules(evidence: Evidence) -> Iterator[tuple[Rule, int]]:
    """Every rule with every number of sessions that it is tried against."""
    for rule in RULES:
        yield rule, 1
        if rule.pools:
            yield from ((rule, count) for count in evidence.baselines)


# --- Tables -----------------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    line = "|" + "|".join("---" if i == 0 else "---:" for i in range(len(head))) + "|"
    return "\n".join([_row(head), line, *map(_row, rows)])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _percent(value: float, digits: int = 0) -> str:
    return f"{value * 100:.{digits}f} %"


def recording_table(evidence: Evidence) -> str:
    """What was recorded, where and when."""
    record = evidence.sessions[0][evidence.precisions[0]]
    e, c = record.environment, record.config
    # Logarithms of the cores in use, by precision and session.
    ratios = [
        logs(evidence, name, "cpu_seconds", compare._LOCATION)
        - logs(evidence, name, "seconds", compare._LOCATION)
        for name in evidence.precisions
    ]
    busy = np.exp(np.mean(ratios, axis=0))
    rows = [
        ("sessions", str(len(evidence.sessions))),
        ("from, to (UTC)", f"{evidence.saved_at[0][:16]}, {evidence.saved_at[-1][:16]}"),
        ("machine", f"{e.cpu_model}, {e.usable_cores} cores, {e.system} {e.kernel}"),
        ("instruction sets", " ".join(e.cpu_features or ("unknown",))),
        (
            "software",
            f"TensorFlow {e.tensorflow} (oneDNN {'on' if e.onednn else 'off'}), Keras {e.keras}, "
            f"Python {e.python}",
        ),
        (
            "work",
            f"profile {c.profile}: {c.runs} rounds of {c.train_samples} images x {c.epochs} epochs",
        ),
        ("precisions", ", ".join(evidence.precisions)),
        (
            "cores in use, least, median and most of the sessions",
            f"{busy.min():.2f}, {np.median(busy):.2f}, {busy.max():.2f}",
        ),
    ]
    return _table(("what", "value"), rows)


def noise_table(evidence: Evidence) -> str:
    """Standard deviation between sessions, by clock and location, and autocorrelation."""
    found = spreads(evidence)
    rows = [
        (
            f"{clock}, {kind}",
            *(_percent(value, 1) for value in spread.by_precision.values()),
            f"{_percent(spread.total, 1)} ({spread.low * 100:.1f} to {spread.high * 100:.1f})",
        )
        for (clock, kind), spread in found.items()
    ]
    memory = [
        float(logs(evidence, name, "peak_memory_bytes", compare._LOCATION).std(ddof=1))
        for name in evidence.precisions
    ]
    rows.append(
        (
            f"peak memory, {compare._LOCATION}",
            *(_percent(value, 1) for value in memory),
            _percent(math.sqrt(sum(v * v for v in memory) / len(memory)), 1),
        )
    )
    for clock, field in CLOCKS.items():
        values = [
            autocorrelation(logs(evidence, name, field, compare._LOCATION))
            for name in evidence.precisions
        ]
        rows.append(
            (
                f"lag-1 autocorrelation, {clock}, {compare._LOCATION}",
                *(f"{value:.2f}" for value in values),
                f"{sum(values) / len(values):.2f}",
            )
        )
    return _table(("clock, location", *evidence.precisions, "all (95 % interval)"), rows)


def _alarm_cells(alarms: Alarms) -> tuple[str, ...]:
    speeds = sum(alarms.speeds.values())
    causes = ", ".join(f"{cause} {n}" for cause, n in sorted(alarms.causes.items())) or "none"
    return (
        _percent(alarms.verdicts[Verdict.PASS] / alarms.trials),
        _percent(alarms.verdicts[Verdict.INCONCLUSIVE] / alarms.trials),
        " / ".join(
            f"{alarms.speeds[v] / speeds * 100:.0f}"
            for v in (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL)
        ),
        causes,
    )


_ALARM_HEAD = (
    "suite PASS",
    "suite INCONCLUSIVE",
    "speed PASS / INCONCLUSIVE / FAIL, %",
    "trials that failed by",
)
_TOLERANCES = (compare.DEFAULT_TOLERANCE, 0.0)


def in_order_table(evidence: Evidence) -> str:
    """False alarms of the whole suite, each session judged by those before it."""
    rows = []
    for tolerance, count in itertools.product(_TOLERANCES, evidence.baselines):
        alarms = alarms_in_order(evidence, count, tolerance)
        rows.append(
            (
                f"{tolerance:.0%}",
                str(count),
                f"{alarms.alarms} of {alarms.trials}",
                _percent(upper_bound(alarms.alarms, alarms.trials), 1),
                *_alarm_cells(alarms),
            )
        )
    return _table(("tolerance", "m", "false alarms", "95 % upper bound", *_ALARM_HEAD), rows)


def drawn_table(evidence: Evidence) -> str:
    """False alarms of the whole suite, sessions drawn at random."""
    rows = []
    for tolerance, count in itertools.product(_TOLERANCES, evidence.baselines):
        alarms = alarms_drawn(evidence, count, tolerance)
        share = f"{alarms.alarms} of {alarms.trials}"
        cells = _alarm_cells(alarms)
        rows.append((f"{tolerance:.0%}", str(count), share, _percent(alarms.share, 1), *cells))
    return _table(("tolerance", "m", "false alarms", "share", *_ALARM_HEAD), rows)


def _recordings(evidence: Evidence) -> dict[str, Evidence]:
    """All recordings by name, oldest first."""
    return {**{name: read(path) for name, path in EARLIER.items()}, "fourth": evidence}


def recordings_table(evidence: Evidence) -> str:
    """All recordings under the same rule, and all together."""
    rows = []
    clock, kind = chosen(evidence)
    recordings = _recordings(evidence)
    for name, recording in recordings.items():
        series = [logs(recording, p, CLOCKS[clock], kind) for p in recording.precisions]
        rows.append(
            (
                name,
                str(len(recording.sessions)),
                "on" if next(iter(recording.sessions[0].values())).environment.onednn else "off",
                _percent(spreads(recording)[clock, kind].total, 1),
                f"{sum(map(autocorrelation, series)) / len(series):.2f}",
                *_alarms_by_baseline([recording]),
                ", ".join(map(str, _alarm_places(recording))) or "none",
                _thirds(recording),
                _found_at_the_stated_effect([recording]),
            )
        )
    together = list(recordings.values())
    rows.append(
        (
            *("all", str(sum(len(recording.sessions) for recording in together)), "", "", ""),
            *_alarms_by_baseline(together),
            *("", ""),
            _found_at_the_stated_effect(together),
        )
    )
    head = (
        *("recording", "sessions", "oneDNN", f"spread of {clock}", "lag-1 autocorrelation"),
        *(f"false alarms, m = {count} (upper bound)" for count in BASELINES),
        *("alarms are sessions", f"{clock} by thirds of the recording"),
        "found at the stated effect",
    )
    return _table(head, rows)


def _alarm_places(recording: Evidence) -> list[int]:
    """The sessions, counted from 1, that are an alarm in order with any of `BASELINES`."""
    return sorted(
        {
            count + place
            for count in BASELINES
            for place, trial in enumerate(in_order(recording, count), start=1)
            if trial.judge().verdict is Verdict.FAIL
        }
    )


def _thirds(recording: Evidence) -> str:
    """Geometric mean of each third over that of all, the precisions averaged."""
    clock, kind = chosen(recording)
    series = [logs(recording, name, CLOCKS[clock], kind) for name in recording.precisions]
    figures = np.mean(series, axis=0)
    thirds = np.array_split(figures - figures.mean(), 3)
    return ", ".join(f"{math.exp(float(third.mean())):.2f}" for third in thirds)


def _alarms_by_baseline(recordings: Sequence[Evidence]) -> Iterator[str]:
    """For each of `BASELINES`: alarms in order, added up, with their 95 % upper bound."""
    for count in BASELINES:
        found = [alarms_in_order(r, count, compare.DEFAULT_TOLERANCE) for r in recordings]
        alarms, trials = sum(a.alarms for a in found), sum(a.trials for a in found)
        yield f"{alarms} of {trials} ({_percent(upper_bound(alarms, trials), 1)})"


def _found_at_the_stated_effect(recordings: Sequence[Evidence]) -> str:
    rates = [
        found.rate
        for recording in recordings
        for count in BASELINES
        for found in calibration(recording, count).values()
    ]
    mean = sum(rates) / len(rates)
    return f"{_percent(min(rates))} to {_percent(max(rates))}, mean {_percent(mean)}"


def gaps_table(evidence: Evidence) -> str:
    """False alarms where time passes between the baseline and the session that it judges."""
    rows = []
    for name, recording in _recordings(evidence).items():
        for count in BASELINES:
            found = [
                count_alarms(trial.judge() for trial in in_order(recording, count, gap))
                for gap in GAPS
            ]
            cells = (f"{a.alarms} of {a.trials} = {_percent(a.share, 1)}" for a in found)
            rows.append((name, str(count), *cells))
    head = ("recording", "m", *(f"{gap} sessions between" for gap in GAPS))
    return _table(head, rows)


def pairs_table(evidence: Evidence) -> str:
    """All recordings as ``cnnprec ab`` would judge neighbouring sessions."""
    rows = []
    for name, recording in _recordings(evidence).items():
        for count in PAIRS:
            comparisons = list(in_pairs(recording, count))
            alarms = count_alarms(comparisons)
            effects = [
                judgement.estimate.detectable
                for comparison in comparisons
                for judgement in comparison.judgements
                if judgement.metric == "speed" and judgement.estimate is not None
            ]
            low, middle, high = np.quantile(effects, (0.1, 0.5, 0.9))
            rows.append(
                (
                    name,
                    str(count),
                    f"{alarms.alarms} of {alarms.trials}",
                    str(len(recording.sessions) // (2 * count)),
                    f"+{middle:.0%} (+{low:.0%} to +{high:.0%})",
                    *_alarm_cells(alarms)[2:],
                )
            )
    head = (
        *("recording", "pairs", "false alarms", "windows that share no session"),
        *("detectable, median (tenth to ninth decile)", *_ALARM_HEAD[2:]),
    )
    return _table(head, rows)


def power_table(evidence: Evidence) -> str:
    """Detection rate of injected slowdowns."""
    rows = []
    for count in evidence.baselines:
        alone = power_alone(evidence, count)
        for name in evidence.precisions:
            rows.append(
                (f"{name} alone", str(count), *(_percent(alone[name][s]) for s in SLOWDOWNS))
            )
        means = (_percent(mean_power(evidence, count, s)) for s in SLOWDOWNS)
        rows.append(("one alone, mean", str(count), *means))
        together = power_together(evidence, count)
        for text, place in (("all at once, each", 0), ("all at once, at least one", 1)):
            cells = (_percent(together[s][place]) if s in together else "" for s in SLOWDOWNS)
            rows.append((text, str(count), *cells))
    return _table(("slowed", "m", *(f"+{s:.0%}" for s in SLOWDOWNS)), rows)


def calibration_table(evidence: Evidence) -> str:
    """Detection rate at the stated minimum detectable effect."""
    rows = []
    for count in evidence.baselines:
        for name, found in calibration(evidence, count).items():
            rows.append(
                (
                    name,
                    str(count),
                    f"+{found.median:.0%}",
                    _percent(found.rate),
                    _percent(found.rate_first_clock),
                )
            )
    clock, _ = chosen(evidence)
    head = ("slowed", "m", "stated effect, median", "found", f"found by {clock}")
    return _table(head, rows)


def rules_table(evidence: Evidence) -> str:
    """The same trials under the rules of other tools."""
    rows = []
    for rule, count in rated_rules(evidence):
        rated = [rate_rule(evidence, rule, clock, count) for clock in CLOCKS]
        rows.append(
            (
                rule.name,
                "latest session" if count == 1 else f"{count} sessions, pooled",
                *(f"{r.alarms} of {r.trials}" for r in rated),
                *(_percent(r.drawn) for r in rated),
                *(_percent(r.power[s]) for s in RULE_SLOWDOWNS for r in rated),
            )
        )
    for count in evidence.baselines:
        ordered = alarms_in_order(evidence, count, compare.DEFAULT_TOLERANCE)
        share = alarms_drawn(evidence, count, compare.DEFAULT_TOLERANCE).share
        cells = [f"{ordered.alarms} of {ordered.trials}", _percent(share)]
        cells += [_percent(mean_power(evidence, count, s)) for s in RULE_SLOWDOWNS]
        both = (text for cell in cells for text in (cell, "(both)"))
        rows.append(("**cnnprec**", f"{count} sessions", *both))
    columns = ("false alarms in order", "false alarms drawn", "+10 % found", "+30 % found")
    head = (f"{column}, {clock}" for column in columns for clock in ("wall", "CPU"))
    return _table(("rule", "against", *head), rows)


def conclusions(evidence: Evidence) -> str:
    """What the figures say, in words; every sentence is decided by the figures."""
    return "\n".join(
        f"* {sentence}"
        for sentence in (
            _on_clock(evidence),
            _on_location(evidence),
            _on_alarms(evidence),
            _on_calibration(evidence),
            _on_power(evidence),
            _on_rules(evidence),
        )
    )


def _ratio(a: Spread, b: Spread) -> tuple[float, float, float]:
    """Ratio of two spreads with its 95 % interval; the resamples are of the same sessions."""
    low, high = np.quantile(a.resampled / b.resampled, (0.025, 0.975))
    return a.total / b.total, float(low), float(high)


def _on_clock(evidence: Evidence) -> str:
    clock, kind = chosen(evidence)
    (other,) = (name for name in CLOCKS if name != clock)
    found = spreads(evidence)
    ratio, low, high = _ratio(found[other, kind], found[clock, kind])
    supported = "supported" if low > 1 else "**not supported**"
    return (
        f"The suite decides by {clock}. {other.capitalize()} spreads {ratio:.1f} times as much "
        f"({low:.1f} to {high:.1f}): the choice is {supported} by these sessions."
    )


def _on_location(evidence: Evidence) -> str:
    clock, kind = chosen(evidence)
    found = {k: spread for (c, k), spread in spreads(evidence).items() if c == clock}
    best = min(found, key=lambda k: found[k].total)
    if best is kind:
        return f"The suite takes the {kind} of the rounds, which has the smallest spread."
    ratio, low, high = _ratio(found[kind], found[best])
    told = "the difference is there" if low > 1 else "these sessions cannot tell the two apart"
    return (
        f"The suite takes the {kind} of the rounds; the smallest spread has the {best}. The ratio "
        f"of the two is {ratio:.2f} ({low:.2f} to {high:.2f}): {told}. The spread does **not** "
        f"single out the {kind}; docs/comparing.md has the reason for it."
    )


def _on_alarms(evidence: Evidence) -> str:
    parts = []
    for count in evidence.baselines:
        alarms = alarms_in_order(evidence, count, compare.DEFAULT_TOLERANCE)
        bound = upper_bound(alarms.alarms, alarms.trials)
        met = (
            "met"
            if bound <= TARGET_ALARMS
            else "met by the share, **not shown** by its bound"
            if alarms.share <= TARGET_ALARMS
            else "**missed**"
        )
        parts.append(
            f"m = {count}: {alarms.alarms} of {alarms.trials} = {_percent(alarms.share, 1)}, 95 % "
            f"upper bound {_percent(bound, 1)}, {met}"
        )
    later = max(
        count_alarms(trial.judge() for trial in in_order(evidence, count, gap)).share
        for count in evidence.baselines
        for gap in GAPS
        if gap and gap + count < len(evidence.sessions)
    )
    held = "met there too" if later <= TARGET_ALARMS else "**missed** there"
    return (
        f"False alarms in order, target at most {_percent(TARGET_ALARMS)}: {'; '.join(parts)}. "
        f"With time between the baseline and the session judged: up to {_percent(later, 1)}, "
        f"{held}."
    )


def _on_calibration(evidence: Evidence) -> str:
    rates = [
        found.rate
        for count in evidence.baselines
        for found in calibration(evidence, count).values()
    ]
    mean = sum(rates) / len(rates)
    inside = sum(abs(rate - POWER) <= TARGET_MISS for rate in rates)
    met = (
        "met by each"
        if inside == len(rates)
        else "met by the mean, **missed** by some"
        if abs(mean - POWER) <= TARGET_MISS
        else "**missed**"
    )
    return (
        f"The stated minimum detectable effect, target {_percent(POWER)} ± "
        f"{TARGET_MISS * 100:.0f} found: {_percent(mean, 1)} of all trials, {met}. By precision "
        f"and m it is {_percent(min(rates))} to {_percent(max(rates))}, {inside} of {len(rates)} "
        "inside."
    )


def _on_power(evidence: Evidence) -> str:
    parts = []
    for count in evidence.baselines:
        found = calibration(evidence, count).values()
        low, high = min(f.median for f in found), max(f.median for f in found)
        parts.append(
            f"m = {count}: +10 % is found in {_percent(mean_power(evidence, count, 0.1))}, "
            f"+30 % in {_percent(mean_power(evidence, count, 0.3))}, four of five at +{low:.0%} "
            f"to +{high:.0%}"
        )
    return f"Power for one slower precision: {'; '.join(parts)}."


def _on_rules(evidence: Evidence) -> str:
    rated = {
        (rule.name, count, clock): rate_rule(evidence, rule, clock, count)
        for rule, count in rated_rules(evidence)
        for clock in CLOCKS
    }
    quiet = [r for r in rated.values() if r.drawn <= TARGET_ALARMS]
    worst = max(rated, key=lambda key: rated[key].drawn)
    against = "the latest session" if worst[1] == 1 else f"{worst[1]} pooled sessions"
    best = max((r.power[0.30] for r in quiet), default=0.0)
    return (
        f"Of {len(rated)} ways to use the other rules, {len(rated) - len(quiet)} raise a false "
        f"alarm in more than {_percent(TARGET_ALARMS)} of the suites, up to "
        f"{_percent(rated[worst].drawn)} ({worst[0]}, {worst[2]}, {against}). The other "
        f"{len(quiet)} find at most {_percent(best)} of the slowdowns of 30 %. Compare power only "
        "at like rates of alarms."
    )


TABLES: Mapping[str, Callable[[Evidence], str]] = MappingProxyType(
    {
        "recording": recording_table,
        "conclusions": conclusions,
        "noise": noise_table,
        "in-order": in_order_table,
        "drawn": drawn_table,
        "recordings": recordings_table,
        "gaps": gaps_table,
        "pairs": pairs_table,
        "power": power_table,
        "calibration": calibration_table,
        "rules": rules_table,
    }
)
"""Every block of README.md by the name in its markers."""


def insert(page: str, name: str, text: str) -> str:
    """A page with this text between the markers of a name.

    Raises:
        ValueError: The page does not have the two markers, once and in order.
    """
    begin, end = (f"<!-- {name}: {word} -->" for word in ("begin", "end"))
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise ValueError(f"the page needs {begin} and {end}, once each and in this order; add them")
    head, tail = page.index(begin) + len(begin), page.index(end)
    return f"{page[:head]}\n{text}\n{page[tail:]}"


# --- Plot -------------------------------------------------------------------------------------

_RULE_COLOURS = ("#7a7a7a", "#b8860b", "#0072b2", "#009e73", "#cc79a7")
_COUNT_COLOURS = dict(zip(BASELINES, ("#e08214", "#8073ac", "#c1272d"), strict=True))
_DPI = 110


def draw(evidence: Evidence) -> Figure:
    """Alarms against power for every rule, and power against the injected slowdown."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 5.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_rules(left, evidence)
    _draw_power(right, evidence)
    return figure


def _draw_rules(axes: Axes, evidence: Evidence) -> None:
    markers = {1: "o", 5: "v", 10: "s", 20: "D"}
    for (rule, count), clock in itertools.product(rated_rules(evidence), CLOCKS):
        rated = rate_rule(evidence, rule, clock, count)
        colour = _RULE_COLOURS[RULES.index(rule)]
        axes.plot(
            rated.drawn * 100,
            rated.power[0.10] * 100,
            linestyle="none",
            marker=markers[count],
            markersize=8,
            color=colour,
            markerfacecolor=colour if clock == "CPU time" else "white",
        )
    for count in evidence.baselines:
        share = alarms_drawn(evidence, count, compare.DEFAULT_TOLERANCE).share
        axes.plot(
            share * 100,
            mean_power(evidence, count, 0.10) * 100,
            linestyle="none",
            marker=markers[count],
            markersize=10,
            color="#c1272d",
            markeredgecolor="black",
        )
    axes.axvline(TARGET_ALARMS * 100, color="black", linestyle=":", linewidth=1)
    axes.text(TARGET_ALARMS * 100 + 1, 97, "5 %", va="top")
    labels = [(rule.name.replace("`", ""), _RULE_COLOURS[i]) for i, rule in enumerate(RULES)]
    for text, colour in [*labels, ("cnnprec", "#c1272d")]:
        axes.plot([], [], linestyle="none", marker="o", color=colour, label=text)
    for count, marker in markers.items():
        text = "latest session" if count == 1 else f"{count} sessions"
        axes.plot([], [], linestyle="none", marker=marker, color="black", label=text)
    for text, face in (("CPU time", "black"), ("wall time", "white")):
        axes.plot(
            [],
            [],
            linestyle="none",
            marker="o",
            color="black",
            markerfacecolor=face,
            label=f"{'filled' if face == 'black' else 'hollow'}: {text}",
        )
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.13), ncols=3, frameon=False)
    axes.set(
        xlim=(-2, 102),
        ylim=(-2, 102),
        xlabel="false alarms: suites that fail though nothing changed, %",
        ylabel="+10 % in one precision found, %",
        title="What a rule finds, and what it costs",
    )
    axes.grid(alpha=0.3)


def _draw_power(axes: Axes, evidence: Evidence) -> None:
    for count in evidence.baselines:
        colour = _COUNT_COLOURS[count]
        rates = [mean_power(evidence, count, s) * 100 for s in SLOWDOWNS]
        percents = [s * 100 for s in SLOWDOWNS]
        axes.plot(percents, rates, marker="o", color=colour, label=f"{count} baseline sessions")
        found = calibration(evidence, count).values()
        effect = float(np.median([f.median for f in found])) * 100
        rate = sum(f.rate for f in found) / len(found) * 100
        axes.plot(
            effect,
            rate,
            linestyle="none",
            marker="*",
            markersize=13,
            color=colour,
            markeredgecolor="black",
            label=f"states +{effect:.0f} %",
        )
    axes.axhline(POWER * 100, color="black", linestyle=":", linewidth=1)
    axes.text(SLOWDOWNS[0] * 100, POWER * 100 + 1, "80 %", va="bottom")
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.13), ncols=3, frameon=False)
    axes.set_xscale("log")
    axes.set_xticks([s * 100 for s in SLOWDOWNS], [f"{s * 100:.0f}" for s in SLOWDOWNS])
    axes.set_xticks([], minor=True)
    axes.set(
        ylim=(-2, 102),
        xlabel="slowdown injected into one precision, %",
        ylabel="found, %",
        title="What cnnprec finds; stars: the effect it states",
    )
    axes.grid(alpha=0.3)


def save(figure: Figure, path: Path) -> None:
    """Writes a PNG without date and version, so that equal plots are equal files."""
    figure.savefig(path, dpi=_DPI, metadata={"Software": None})


# --- Command line -----------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", choices=list(TABLES), help="only this one, printed")
    parser.add_argument("--write", action="store_true", help="renew README.md and the plot")
    parser.add_argument("--out", type=Path, help="folder for a .md of each table and the plot")
    commands = parser.add_subparsers(dest="command")
    collector = commands.add_parser("collect", help="write sessions.json from saved sessions")
    collector.add_argument("folder", type=Path)
    given = parser.parse_args(arguments)
    if given.command == "collect":
        try:
            count = collect(given.folder)
        except ValueError as error:
            parser.error(str(error))
        sys.stdout.write(f"{DATA.name}: {count} sessions, {DATA.stat().st_size} bytes\n")
        return 0
    evidence = read()
    names = [given.table] if given.table else list(TABLES)
    # The words come last: they rest on all the others, which then have been printed.
    texts = {}
    for name in sorted(names, key=lambda name: name == "conclusions"):
        texts[name] = TABLES[name](evidence)
        sys.stdout.write(f"## {name}\n\n{texts[name]}\n\n")
        sys.stdout.flush()
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (given.out / f"{name}.md").write_text(f"{text}\n", encoding="utf-8")
    if given.write:
        page = README.read_text(encoding="utf-8")
        for name, text in texts.items():
            page = insert(page, name, text)
        README.write_text(page, encoding="utf-8")
    if not given.table and (given.out or given.write):
        save(draw(evidence), (given.out or HERE) / PLOT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
