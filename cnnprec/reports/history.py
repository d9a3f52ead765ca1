"""A finished history as text. Nothing is decided here."""

import math

from cnnprec.reports.baseline import minute
from cnnprec.text import aligned, count_of, printable
from cnnprec.verdicts.baseline import stack_changes
from cnnprec.verdicts.history import FEWEST, History


def table(found: History) -> list[str]:
    """The sessions, a row each: times over their median, ``<`` where another level begins."""
    rows = [("saved (UTC)", "session", *(f"{name}  " for name in found.times))]
    for place, session in enumerate(found.sessions):
        cells = (
            f"{math.exp(times[place]):.3f}{' <' if place in found.starts[name][1:] else '  '}"
            for name, times in found.times.items()
        )
        rows.append((minute(session), printable(session.path.stem), *cells))
    return aligned(rows)


def sentences(found: History) -> list[str]:
    """Since when each precision has its level, and which sessions were left out."""
    return [
        *(sentence(found, name) for name in found.times),
        *(f"left out {count_of(n, 'session')}: {reason}" for reason, n in found.left_out.items()),
    ]


def summary(found: History) -> list[str]:
    """A line on all precisions; none where the sessions are too few to say anything."""
    changed = [sentence(found, name) for name, starts in found.starts.items() if starts[1:]]
    what = "; ".join(changed) or f"no change in {len(found.sessions)} saved sessions"
    return [f"history: {what}"] if len(found.sessions) >= FEWEST else []


def sentence(found: History, name: str) -> str:
    """Since when a precision has its level."""
    sessions = count_of(len(found.sessions), "session")
    if len(found.sessions) < FEWEST:
        return f"{name}: {sessions}; at least {FEWEST} are needed to look for a change"
    *_, start = found.starts[name]
    if not start:
        return f"{name}: no change in {sessions}"
    before, level = found.levels(name)[-2:]
    percent = math.expm1(level - before) * 100
    earlier, session = found.sessions[start - 1 : start + 1]
    stack = ", ".join(map(str, stack_changes(earlier, session.records))) or "same software"
    return (
        f"{name}: {abs(percent):.1f} % {'slower' if percent > 0 else 'faster'} since "
        f"{minute(session)} ({printable(session.path.stem)}; {stack})"
    )
