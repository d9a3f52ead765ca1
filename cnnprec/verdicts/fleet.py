"""A fleet: saved sessions of many hosts, each host judged by what most of them have.

Only hosts of the same work, hardware and software are compared (docs/driver-validation.md).
"""

import dataclasses
import functools
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from cnnprec.precision.precisions import get_precision
from cnnprec.records.read_sessions import SavedSession
from cnnprec.records.record import Record
from cnnprec.text import count_of
from cnnprec.verdicts.case import ALL_TIMES, ENOUGH, TIME, Case
from cnnprec.verdicts.comparability import FIELDS, Part, differences
from cnnprec.verdicts.compare import compare
from cnnprec.verdicts.decision import Decision
from cnnprec.verdicts.estimate import POWER, Estimate
from cnnprec.verdicts.statistics import LEVEL, ROUNDING, or_infinite
from cnnprec.verdicts.verdict import GROWTHS, Comparison, Judgement, Limits, Metric, Verdict, worst

Fleet = Mapping[str, Sequence[SavedSession]]  # the sessions of each host, by its name

Floats = npt.NDArray[np.float64]

_DRAWS, _MOST = 10_000, 4_000_000  # sets of peers, and peers in all, that are drawn
_LEAST = 0.75  # of the peers count in any case, and more where they are no further than
_FAR = 3.0 * 1.4826  # median deviations: three deviations of a normal distribution

_T = TypeVar("_T")


def judge_fleet(fleet: Fleet, limits: Limits) -> dict[str, Comparison]:
    """Judges each host by those like it; `changed` says how these differ from the largest group.

    ValueError where the sessions of one host are not alike.
    """
    settings = {host: _setting(host, sessions) for host, sessions in fleet.items()}
    groups: dict[object, dict[str, Sequence[SavedSession]]] = defaultdict(dict)
    for host, sessions in fleet.items():
        groups[tuple(field.read(settings[host]) for field in FIELDS)][host] = sessions
    largest = max(groups.values(), key=len)
    usual = settings[next(iter(largest))]
    found = {}
    for group in groups.values():
        for host, judgements in _judge(group, limits).items():
            apart = differences(usual, settings[host])
            if work := "; ".join(str(d) for d in apart if d.part is Part.WORKLOAD):
                judgements = [Judgement(Metric.COMPLETENESS, "", Verdict.INCOMPARABLE, work)]
            basis = count_of(len(group) - 1, "other host")
            found[host] = Comparison(tuple(judgements), apart, basis)
    return {host: found[host] for host in fleet}


def decide_fleet(found: Mapping[str, Comparison]) -> Decision:
    """What to do with the hosts that were judged."""
    verdict = worst(one.verdict for one in found.values())
    named = ", ".join(host for host, one in found.items() if one.verdict is verdict)
    if verdict is Verdict.PASS:
        alike = f"none of {len(found)} hosts stands out"
        return Decision(verdict, "KEEP ALL", alike, "nothing more")
    if verdict is Verdict.FAIL:
        return Decision(verdict, "TAKE OUT", named, "look at these hosts and measure them again")
    return Decision(verdict, "MEASURE MORE", named, "more hosts or sessions, measured alike")


def _setting(host: str, sessions: Iterable[SavedSession]) -> Record:
    """What all records of a host have in common."""
    some = get_precision("single")
    records = [record for session in sessions for record in session.records.values()]
    first, *others = (Record.blank(some, (), r.config, r.data, r.environment) for r in records)
    for difference in (d for other in others for d in differences(first, other)):
        raise ValueError(f"{host}: its sessions differ in {difference}; give those of one state")
    if first.config.jit == "best":
        raise ValueError(f"{host}: --jit best chose for this host alone; use on, off or both")
    return first


def _judge(group: Fleet, limits: Limits) -> dict[str, list[Judgement]]:
    """Judges hosts that are alike. The first session of each one says what most of them have."""
    firsts = [sessions[0].records for sessions in group.values()]
    counts = Counter(name for records in firsts for name in records)
    due = [name for name, count in counts.items() if 2 * count > len(group)]
    usual = [
        {name: _usual([r[name] for r in firsts if name in r], place) for name in due}
        for place in (0, 1)
    ]
    found = {}
    for host, sessions in group.items():
        rows = [row for s in sessions for row in compare(usual, s.records).judgements]
        found[host] = [j for j in rows if j.metric not in GROWTHS or j.verdict is Verdict.INVALID]
        if any(session.failed for session in sessions):
            reason = "a test of its session failed"
            found[host].append(Judgement(Metric.COMPLETENESS, "", Verdict.FAIL, reason))
    times = {host: row for host in group if (row := _times(group[host], due))}
    for host, judgement in _judge_times(times, due, limits):
        found[host].append(judgement)
    return found


def _usual(records: Sequence[Record], place: int) -> Record:
    """What most of these records have; where they do not agree on a seed, places are other runs."""
    rounds = []
    for seed in dict.fromkeys(entry.run.seed for entry in records[0].rounds):
        entries = [e for record in records for e in record.rounds if e.run.seed == seed]
        most = _most(entries, lambda e: (e.run.weights_sha256, e.run.test_accuracy, e.run.outcome))
        distinct = {entry.run.weights_sha256: entry for entry in entries}.values()
        ordered = sorted(distinct, key=lambda e: (math.isnan(e.run.losses[-1]), e.run.losses[-1]))
        rounds.append(most or ordered[max(len(ordered) // 2 - place, 0)])
    probed = [record.numerics for record in records if record.numerics]
    numerics = _most(probed, lambda n: (n.level, [group.sha256 for group in n.probes]))
    return dataclasses.replace(records[0], rounds=tuple(rounds), numerics=numerics)


def _most(items: Sequence[_T], key: Callable[[_T], object]) -> _T | None:
    """One of those, more than half of all, that have the same key; None if they are fewer."""
    keys = [repr(key(item)) for item in items]
    usual = statistics.mode(keys or [""])
    return items[keys.index(usual)] if 2 * keys.count(usual) > len(keys) else None


def _times(sessions: Sequence[SavedSession], due: Iterable[str]) -> list[float]:
    """The logarithms of a host's times by precision; none where one is not known."""
    of = [tuple(s.records[name] for s in sessions if name in s.records) for name in due]
    rows = [Case("", records, records).logs(TIME)[0] for records in of]
    return list(map(statistics.fmean, rows)) if all(len(r) == len(sessions) for r in rows) else []


def _judge_times(
    hosts: Mapping[str, Sequence[float]], due: Sequence[str], limits: Limits
) -> Iterator[tuple[str, Judgement]]:
    if len(hosts) < ENOUGH:
        reason = f"{ENOUGH} hosts needed that are alike and have all times, {len(hosts)} found"
        yield from ((h, Judgement(Metric.SPEED, "", Verdict.INCONCLUSIVE, reason)) for h in hosts)
        return
    columns = dict(zip(due, zip(*hosts.values(), strict=True), strict=True))
    if len(due) > 1:
        columns[""] = tuple(map(statistics.fmean, hosts.values()))
    for name, logs in columns.items():
        size = TIME if name else ALL_TIMES
        strict = LEVEL * size.share / (len(due) if name else 1)
        peers = beside_peers(logs, tolerance=limits.tolerance, strict=strict)
        for host, estimate in zip(hosts, peers, strict=True):
            verdict, text = Verdict.INCONCLUSIVE, f"+{limits.margin:.0%} is not excluded"
            if estimate.p_value <= strict:
                verdict, text = Verdict.FAIL, f"{estimate.ratio - 1:+.1%}"
            elif estimate.high < 1 + limits.margin:
                verdict, text = Verdict.PASS, "as usual"
            power = f"+{estimate.detectable:.0%} would be found in 4 of 5 cases"
            reason = f"{size.name} beside its peers: {text} ({power})"
            yield host, Judgement(Metric.SPEED, name, verdict, reason, estimate, size.name)


def beside_peers(logs: Sequence[float], *, tolerance: float, strict: float) -> list[Estimate]:
    """Compares each of at least 3 logarithms of times with the mean of those near the median.

    p values, of "the ratio is at most 1 + tolerance", hold for all peers together; each bound for
    one peer, with confidence 1 - `LEVEL`; `detectable` is found with p below `strict`.
    """
    values = np.array(logs)
    (mean,), (error,) = _near(values[np.newaxis])
    (power, single), slowest = _drawn(len(logs))
    limit, reach = math.log1p(tolerance), single * error
    least = float(np.quantile(slowest, 1 - strict)) + power
    found = []
    for away in (values - mean).tolist():
        excess = away - limit
        times = excess / error if error > ROUNDING else math.copysign(math.inf, excess - ROUNDING)
        more = len(slowest) - int(np.searchsorted(slowest, times))
        low, ratio, high = (or_infinite(math.exp, away + by) for by in (-reach, 0, reach))
        detectable = or_infinite(math.expm1, limit + least * error)
        p_value = (1 + more) / (1 + len(slowest))
        found.append(Estimate(ratio, low, high, p_value, detectable, len(logs)))
    return found


def _near(logs: Floats) -> tuple[Floats, Floats]:
    """Mean and deviation of those near the median, for each row of peers."""
    away = np.abs(logs - np.median(logs, axis=1, keepdims=True))
    far = _FAR * np.median(away, axis=1, keepdims=True)
    least = np.quantile(away, _LEAST, axis=1, method="lower", keepdims=True)
    near = away <= np.maximum(far, least)
    return np.mean(logs, axis=1, where=near), np.std(logs, axis=1, where=near, ddof=1)


@functools.cache
def _drawn(peers: int) -> tuple[list[float], Floats]:
    """Of equal peers: quantiles of any at `POWER` and 1 - `LEVEL`; the slowest of sets, sorted."""
    size = min(_DRAWS, _MOST // peers), peers
    logs = np.random.default_rng(0).normal(size=size)
    means, errors = _near(logs)
    times = (logs - means[:, np.newaxis]) / errors[:, np.newaxis]
    return np.quantile(times, [POWER, 1 - LEVEL]).tolist(), np.sort(times.max(axis=1))
