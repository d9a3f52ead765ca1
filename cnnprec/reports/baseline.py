"""The baseline of a comparison as text: what is compared with, what is left aside and why."""

from collections.abc import Iterable
from datetime import datetime, timezone

from cnnprec.records.read_sessions import SavedSession, Skipped
from cnnprec.text import count_of, printable
from cnnprec.verdicts.baseline import Selection
from cnnprec.verdicts.limits import LimitTable


def describe_baseline(
    selection: Selection, skipped: Iterable[Skipped], limits: LimitTable, where: str = ""
) -> list[str]:
    """What is compared with, where it lies, and what was left aside and why."""
    names = [printable(session.path.name) for session in selection.sessions]
    lines = []
    if names:
        first_to_last = f"{names[0]} to {names[-1]}" if len(names) > 1 else names[0]
        lines = [
            f"baseline: {count_of(len(names), 'session')}{where}, {first_to_last}",
            f"baseline: saved {' to '.join(minute(selection.sessions[i]) for i in (0, -1))} UTC",
        ]
    return [
        *lines,
        *(f"baseline: SKIPPED {printable(s.path.name)}: {printable(s.reason)}" for s in skipped),
        *(f"baseline: {line}" for line in dated_ahead(selection.sessions)),
        *set_aside(selection),
        *([] if limits == LimitTable() else [f"limits: {limits}"]),
    ]


def set_aside(selection: Selection) -> list[str]:
    """The sessions that are not compared with, a line for each reason."""
    lines = [
        f"baseline: not used {printable(s.path.name)}: {printable(reason)}"
        for s, reason in selection.unfit
    ]
    alike: dict[str, list[str]] = {}
    for session, found in selection.refused:
        name = printable(session.path.name)
        alike.setdefault("; ".join(map(str, found)), []).append(name)
    for listed, names in alike.items():
        more = f" to {names[-1]} ({len(names)} sessions)" if len(names) > 1 else ""
        lines.append(f"baseline: not comparable {names[0]}{more}: {listed}")
    return lines


def dated_ahead(sessions: Iterable[SavedSession]) -> list[str]:
    """A sentence for each session whose date is in the future."""
    wrong = "is in the future: a clock is wrong, of this machine or of the one that saved it"
    ahead = [session for session in sessions if session.saved_at > datetime.now(timezone.utc)]
    return [f"{printable(s.path.name)}: its date {minute(s)} UTC {wrong}" for s in ahead]


def minute(session: SavedSession) -> str:
    """When it was saved, in UTC."""
    return f"{session.saved_at:%Y-%m-%d %H:%M}"
