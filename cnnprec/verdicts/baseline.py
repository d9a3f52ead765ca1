"""Choosing the saved sessions to compare with."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from cnnprec.records.read_sessions import SavedSession, age, without_copies
from cnnprec.records.record import Record
from cnnprec.verdicts.case import ENOUGH
from cnnprec.verdicts.comparability import Difference, Part, differences, refused, stack


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which saved sessions to compare with, and why not the others."""

    sessions: tuple[SavedSession, ...]  # The baseline, oldest first. Empty if there is none.
    changed: tuple[Difference, ...]  # what differs in the stack between baseline and now, each once
    refused: tuple[tuple[SavedSession, tuple[Difference, ...]], ...]  # those not comparable
    unfit: tuple[tuple[SavedSession, str], ...]  # those that are no baseline for anybody, and why


def select(
    sessions: Iterable[SavedSession],
    current: Mapping[str, Record],
    vary: frozenset[str] | None = None,
) -> Selection:
    """Chooses the baseline of a session among the saved ones.

    Unfit is one that would make a regression the new normal, is a copy, or is not whole. The
    comparable ones are grouped by their stack, the project's own code apart, and by what XLA
    compiled. The newest group with `ENOUGH` sessions is taken; if there is none, the newest. With
    ``vary``, groups that differ in what is varied come first (docs/comparing.md has the reasons).
    The records of the current session may have no rounds yet.
    """
    kept, copies = without_copies(sessions)
    unfit = list(copies)
    turned_down: list[tuple[SavedSession, tuple[Difference, ...]]] = []
    groups: dict[object, list[SavedSession]] = {}
    for session in kept:
        if session.failed:
            unfit.append((session, "a test of the session failed"))
        elif session.verdict == "FAIL":
            unfit.append((session, "it was itself worse than its baseline (verdict FAIL)"))
        elif reasons := unlike(session, current, vary):
            turned_down.append((session, reasons))
        elif short := [name for name, record in session.records.items() if not record.is_whole]:
            unfit.append((session, f"runs or turns of {', '.join(short)} are missing"))
        else:
            groups.setdefault(_group(session, current, vary), []).append(session)
    chosen = _choose(list(groups.values()), current, vary)
    changed = (d for session in chosen for d in stack_changes(session, current))
    return Selection(tuple(chosen), tuple(dict.fromkeys(changed)), tuple(turned_down), tuple(unfit))


def _shared(session: SavedSession, current: Mapping[str, Record]) -> list[str]:
    return [name for name in session.records if name in current]


def _differences(session: SavedSession, current: Mapping[str, Record]) -> tuple[Difference, ...]:
    found = (
        difference
        for name in _shared(session, current)
        for difference in differences(session.records[name], current[name])
    )
    return tuple(dict.fromkeys(found))


def stack_changes(session: SavedSession, current: Mapping[str, Record]) -> tuple[Difference, ...]:
    """How the stack differs between a session and these records."""
    return tuple(d for d in _differences(session, current) if d.part is Part.STACK)


def unlike(
    session: SavedSession, current: Mapping[str, Record], vary: frozenset[str] | None
) -> tuple[Difference, ...]:
    """Why a session cannot be compared with these records; see `select`."""
    if _shared(session, current):
        return refused(_differences(session, current), vary)
    mine, theirs = ", ".join(session.records), ", ".join(current) or "none"
    return (Difference(Part.WORKLOAD, "precisions", mine, theirs),)


def _group(
    session: SavedSession, current: Mapping[str, Record], vary: frozenset[str] | None
) -> object:
    # All precisions of a session have one environment.
    shared = _shared(session, current)
    values = stack(session.records[shared[0]])
    has_change = values.pop("code") == current[shared[0]].environment.code
    compiled = frozenset(name for name in shared if session.records[name].jit_compiled)
    # Only where the code is varied do the sessions that have it already stand apart.
    return tuple(values.values()), compiled, has_change if vary and "code" in vary else None


def _choose(
    groups: Sequence[list[SavedSession]], current: Mapping[str, Record], vary: frozenset[str] | None
) -> list[SavedSession]:
    """The group to compare with; each group and its sessions are sorted by age."""
    if vary:
        # The sessions of a group are alike in this, so the first one tells.
        groups = [
            group
            for group in groups
            if any(difference.name in vary for difference in _differences(group[0], current))
        ] or groups
    large = [group for group in groups if len(group) >= ENOUGH]
    return max(large or groups, key=lambda group: age(group[-1]), default=[])
