"""The baseline of a comparison as text: what is compared with, what is left aside and why."""

from __future__ import annotations

from collections.abc import Iterable

from cnnprec.records.read_sessions import SavedSession, Skipped
from cnnprec.text import count_of
from cnnprec.verdicts.baseline import Selection
from cnnprec.verdicts.limits import LimitTable


def describe_baseline(
    selection: Selection, skipped: Iterable[Skipped], limits: LimitTable, where: str = ""
) -> list[str]:
    """What is compared with, where it lies, and what was left aside and why."""
    names = [session.path.name for session in selection.sessions]
    lines = []
    if names:
        first_to_last = f"{names[0]} to {names[-1]}" if len(names) > 1 else names[0]
        lines = [
            f"baseline: {count_of(len(names), 'session')}{where}, {first_to_last}",
            f"baseline: saved {_minute(selection.sessions[0])} to "
            f"{_minute(selection.sessions[-1])} UTC",
        ]
    return [
        *lines,
        *(f"baseline: SKIPPED {skip.path.name}: {skip.reason}" for skip in skipped),
        *set_aside(selection),
        *([] if limits == LimitTable() else [f"limits: {limits}"]),
    ]


def set_aside(selection: Selection) -> list[str]:
    """The sessions that are not compared with, a line for each reason."""
    lines = [f"baseline: not used {s.path.name}: {reason}" for s, reason in selection.unfit]
    alike: dict[str, list[str]] = {}
    for session, found in selection.refused:
        alike.setdefault("; ".join(map(str, found)), []).append(session.path.name)
    for listed, names in alike.items():
        more = f" to {names[-1]} ({len(names)} sessions)" if len(names) > 1 else ""
        lines.append(f"baseline: not comparable {names[0]}{more}: {listed}")
    return lines


def _minute(session: SavedSession) -> str:
    return f"{session.saved_at:%Y-%m-%d %H:%M}"
