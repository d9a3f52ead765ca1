"""The tables of README.md, each a function of the recording, and how they get into the page."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import rules
import trials
from recording import Floats, Recording, turns_of

from cnnprec.verdicts.case import TIME, Records, figure, machine_state
from cnnprec.verdicts.compare import compare_pairs
from cnnprec.verdicts.regression import fit
from cnnprec.verdicts.verdict import DEFAULT_TOLERANCE, Verdict

_CASES = tuple(itertools.product((DEFAULT_TOLERANCE, 0.0), trials.BASELINES))
_VERDICTS = (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    line = ["---" if column == 0 else "---:" for column in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, line, *rows))


def _percent(value: float, digits: int = 0) -> str:
    return f"{value * 100:.{digits}f} %"


def _numbers(shares: Iterable[float]) -> str:
    return " / ".join(f"{share * 100:.0f}" for share in shares)


def _hits(alarms: trials.Alarms) -> str:
    return f"{alarms.alarms} of {alarms.trials}"


def _verdicts(alarms: trials.Alarms) -> tuple[str, str, str]:
    """Shares of PASS, INCONCLUSIVE and FAIL, of the suite and of speed, and what failed."""
    suite, speed = (
        _numbers(counts[v] / counts.total() for v in _VERDICTS)
        for counts in (alarms.verdicts, alarms.speeds)
    )
    causes = ", ".join(f"{cause} {count}" for cause, count in sorted(alarms.causes.items()))
    return suite, speed, causes or "nothing"


def recording_table(recording: Recording) -> str:
    """What was recorded, where and when, by stretch."""
    columns = []
    for sessions, saved_at in zip(recording.stretches, recording.saved_at, strict=True):
        record = next(iter(sessions[0].values()))
        e, c, turns = record.environment, record.config, turns_of(record)
        columns.append(
            {
                "sessions": str(len(sessions)),
                "from, to (UTC)": f"{saved_at[0][:16]}, {saved_at[-1][:16]}",
                "processor": f"{e.cpu_model}, {e.usable_cores} cores",
                "system": f"{e.system} {e.kernel}",
                "instruction sets": " ".join(e.cpu_features or ("unknown",)),
                "TensorFlow": f"{e.tensorflow} (oneDNN {'on' if e.onednn else 'off'})",
                "Keras, Python": f"{e.keras}, {e.python}",
                "profile": f"{c.profile}, {c.turns} turns",
                "runs": f"{c.runs} of {c.train_samples} images x {c.epochs} epochs",
                "calibrators": ", ".join(name for name, _ in turns.calibrators),
                "precisions": ", ".join(sessions[0]),
            }
        )
    names = (f"stretch {number}" for number in range(1, len(columns) + 1))
    rows = [(what, *(column[what] for column in columns)) for what in columns[0]]
    return _table(("what", *names), rows)


def _of_fastest(times: Floats, part: int) -> float:
    return float(np.mean(np.sort(times)[: len(times) // part]))


FIGURES: Mapping[str, Callable[[Floats], float]] = MappingProxyType(
    {
        "mean of all turns": lambda times: float(np.mean(times)),
        "mean of the faster half": lambda times: _of_fastest(times, 2),
        "mean of the fastest third": lambda times: _of_fastest(times, 3),
        "mean of the fastest quarter": lambda times: _of_fastest(times, 4),
        "median": lambda times: float(np.median(times)),
        "minimum": lambda times: float(np.min(times)),
    }
)
"""What a session's turns can be reduced to, of the logarithms of their times per step."""


def figures_table(recording: Recording) -> str:
    """Standard deviation between sessions given the state, for each figure of the turns."""
    rows = []
    for number, sessions in enumerate(recording.stretches, 1):
        for what, reduce in FIGURES.items():
            cells = []
            for name in recording.precisions:
                turns = (turns_of(session[name]).step_seconds for session in sessions)
                values = np.array([reduce(np.log(times)) for times in turns])
                cells.append(_percent(np.std(_left_out(values, _states(sessions)), ddof=1), 1))
            rows.append((str(number), what, *cells))
    return _table(("stretch", "figure of the turns", *recording.precisions), rows)


def _states(sessions: Sequence[Records]) -> Floats:
    return np.array([machine_state(next(iter(session.values()))) for session in sessions])


def _left_out(values: Floats, states: Floats) -> Floats:
    """What each session differs from the line through the others."""
    left = []
    for out in range(len(values)):
        kept = np.arange(len(values)) != out
        line = fit(list(values[kept]), list(states[kept]))
        left.append(values[out] - line.at(states[out]))
    return np.array(left)


def noise_table(recording: Recording) -> str:
    """Standard deviation between sessions, before and after the calibrators, leave-one-out."""
    rows = []
    for number, sessions in enumerate(recording.stretches, 1):
        states = _states(sessions)
        columns = []
        for name in recording.precisions:
            values = np.array([np.log(figure(s[name], TIME.field)) for s in sessions])
            left = _left_out(values, states)
            columns.append(
                {
                    "time per step": _percent(values.std(ddof=1), 1),
                    "the same, given the state": _percent(np.std(left, ddof=1), 1),
                    "autocorrelation of neighbours": f"{_lag(values):.2f}",
                    "autocorrelation, given the state": f"{_lag(left):.2f}",
                    "slope": f"{fit(list(values), list(states)).slopes[0]:.2f}",
                }
            )
        rows += [(str(number), what, *(c[what] for c in columns)) for what in columns[0]]
    return _table(("stretch", "between sessions", *recording.precisions), rows)


def _lag(values: Floats) -> float:
    apart = values - values.mean()
    return float(np.sum(apart[1:] * apart[:-1]) / np.sum(apart**2))


def in_order_table(recording: Recording) -> str:
    """False alarms of the whole suite, each session judged by those before it."""
    rows = []
    for tolerance, count in _CASES:
        alarms = trials.alarms_in_order(recording, count, tolerance)
        bound = _percent(trials.upper_bound(alarms.alarms, alarms.trials), 1)
        rows.append((_percent(tolerance), str(count), _hits(alarms), bound, *_verdicts(alarms)))
    return _table(("tolerance", "m", "alarms", "95 % bound", "suite", "speed", "failed"), rows)


def drawn_table(recording: Recording) -> str:
    """False alarms of the whole suite, sessions drawn at random."""
    rows = []
    for tolerance, count in _CASES:
        alarms = trials.alarms_drawn(recording, count, tolerance)
        share = _percent(alarms.share, 1)
        rows.append((_percent(tolerance), str(count), _hits(alarms), share, *_verdicts(alarms)))
    return _table(("tolerance", "m", "alarms", "share", "suite", "speed", "failed"), rows)


def gaps_table(recording: Recording) -> str:
    """False alarms where time passes between the baseline and the session that it judges."""
    rows = []
    for count, calibrated in itertools.product(trials.BASELINES, (True, False)):
        found = [
            trials.alarms_in_order(recording, count, gap=gap, calibrated=calibrated)
            for gap in trials.GAPS
        ]
        shown = (f"{_hits(a)} = {_percent(a.share, 1)}" for a in found)
        rows.append((f"{count}" if calibrated else f"{count}, no calibrators", *shown))
    return _table(("m", *(f"{gap} sessions between" for gap in trials.GAPS)), rows)


def pairs_table(recording: Recording) -> str:
    """Neighbouring sessions as ``cnnprec ab`` would judge them."""
    rows = []
    for count in trials.PAIRS:
        paired = list(trials.in_pairs(recording, count))
        windows = list(map(compare_pairs, paired))
        duet = [any(trials.duet_slower(p, name) for name in recording.precisions) for p in paired]
        judgements = [j for w in windows for j in w.judgements if j.metric == "speed"]
        effects = [j.estimate.detectable for j in judgements if j.estimate is not None]
        low, middle, high = (_percent(e) for e in np.quantile(effects, (0.1, 0.5, 0.9)))
        alarms = trials.Alarms(windows)
        apart = sum(len(sessions) // (2 * count) for sessions in recording.stretches)
        _, *verdicts = _verdicts(alarms)
        detectable = f"+{middle} (+{low} to +{high})"
        hits = (_hits(alarms), f"{sum(duet)} of {len(duet)}")
        rows.append((str(count), *hits, str(apart), detectable, *verdicts))
    head = ("pairs", "alarms", "duet's alarms", "windows that share no session", "detectable")
    head += ("speed", "failed")
    return _table(head, rows)


def power_table(recording: Recording) -> str:
    """Detection rate of injected slowdowns, in one cell by number of baseline sessions."""
    found = [trials.power(recording, count) for count in trials.BASELINES]
    rows = [
        (row, *(_numbers(f[row][s] for f in found) if s in some else "" for s in trials.SLOWDOWNS))
        for row, some in found[0].items()
    ]
    return _table(("slower", *(f"+{_percent(s)}" for s in trials.SLOWDOWNS)), rows)


def calibration_table(recording: Recording) -> str:
    """Detection rate at the stated minimum detectable effect."""
    found = [trials.calibration(recording, count) for count in trials.BASELINES]
    rows = []
    for name in recording.precisions:
        stated = [by_name[name] for by_name in found]
        rows.append((name, *(f"+{_percent(effect)}: {_percent(rate)}" for effect, rate in stated)))
    return _table(("slower", *(f"m = {count}" for count in trials.BASELINES)), rows)


def rules_table(recording: Recording) -> str:
    """The same trials under the rules of other tools, on the times of the turns."""
    rows = []
    for rule, count in rules.WAYS:
        rated = rules.rate(recording, rule, count)
        against = "latest session" if count == 1 else f"{count} sessions"
        power = (_numbers([rated.power[s]]) for s in rules.RULE_SLOWDOWNS)
        ordered = f"{rated.alarms} of {rated.trials}"
        rows.append((rule.name, against, ordered, _numbers([rated.drawn]), *power))
    for count in trials.BASELINES:
        ordered = _hits(trials.alarms_in_order(recording, count))
        shares = [trials.alarms_drawn(recording, count).share]
        shares += [trials.power(recording, count)[trials.ONE][s] for s in rules.RULE_SLOWDOWNS]
        rows.append(("**cnnprec**", f"{count} sessions", ordered, *(_numbers([s]) for s in shares)))
    found = (f"+{_percent(s)} found, %" for s in rules.RULE_SLOWDOWNS)
    return _table(("rule", "against", "alarms in order", "alarms drawn, %", *found), rows)


TABLES: Mapping[str, Callable[[Recording], str]] = MappingProxyType(
    {
        "in-order": in_order_table,
        "gaps": gaps_table,
        "drawn": drawn_table,
        "pairs": pairs_table,
        "power": power_table,
        "calibration": calibration_table,
        "rules": rules_table,
        "recording": recording_table,
        "noise": noise_table,
        "figures": figures_table,
    }
)
"""Every table by its name on the command line and in the markers of README.md."""


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
