"""Saved sessions in which nothing changed: to sessions.json, and back as records.

A stretch is sessions of the same code on the same machine, one after the other. sessions.json has
what the sessions of a stretch share once, and then the rounds of each. It has no host name and no
path: the block about the host is not read, and the folder of the images is left out.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnprec.records.read_sessions import SavedSession, read_sessions
from cnnprec.records.record import Record, Turns
from cnnprec.verdicts.case import Records
from cnnprec.verdicts.comparability import differences

Floats = npt.NDArray[np.float64]

DATA = Path(__file__).parent / "sessions.json"

FEWEST = 16
"""Sessions of a stretch. With a baseline of 8, as many are judged."""

SHARED = ("schema_version", "config", "data", "environment", "jit_compiled")
"""What all records have in common."""

COLUMNS = ("seconds", "cpu_seconds", "peak_memory_bytes", "run")
"""What is kept of a round; ``run`` is its place in the list of distinct runs."""

TICK = 1e-4
"""Seconds: the times of turns are kept in whole multiples, a thousandth of a turn."""


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """Recorded sessions.

    Attributes:
        stretches: The records of each session by the name of the precision, oldest first.
        saved_at: When each session was saved, ISO 8601 in UTC, by stretch.
    """

    stretches: tuple[tuple[Records, ...], ...]
    saved_at: tuple[tuple[str, ...], ...]

    @property
    def sessions(self) -> tuple[Records, ...]:
        """The sessions of all stretches."""
        return tuple(itertools.chain.from_iterable(self.stretches))

    def stretch(self, number: int) -> Recording:
        """The sessions of one stretch, counted from 1."""
        here = slice(number - 1, number)
        return Recording(self.stretches[here], self.saved_at[here])

    @property
    def precisions(self) -> tuple[str, ...]:
        """The names of the precisions, in the order of the file."""
        return tuple(self.stretches[0][0])


def compact(sessions: Sequence[SavedSession]) -> dict[str, Any]:
    """A stretch, oldest session first, as JSON types; times are kept to 1 µs.

    Raises:
        ValueError: Fewer than `FEWEST` sessions; they differ in machine, workload, stack or
            precisions; a round without a time, or one of a GPU.
    """
    first = dict(sorted(sessions[0].records.items()))
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in first}
    rows = []
    for session in sessions:
        _check_alike(session, first)
        rounds = {name: _rows(session.records[name], runs[name]) for name in first}
        turns = {name: _ticks(session.records[name]) for name in first}
        shared_turns = turns_of(next(iter(session.records.values())))
        calibrators = dict(shared_turns.calibrators)
        rows.append(
            {
                "saved_at": session.saved_at.isoformat(),
                "rounds": rounds,
                "turns": turns,
                "calibrators": {name: round(value, 6) for name, value in calibrators.items()},
                "warm_up": shared_turns.warm_up,
            }
        )
    if len(rows) < FEWEST:
        raise ValueError(f"{len(rows)} of at least {FEWEST} sessions; give a folder with more")
    plain = {name: record.to_dict() for name, record in first.items()}
    shared = next(iter(plain.values()))
    shared["data"]["source"] = ""
    for name in ("host", "gpu_uuid"):
        shared["environment"].pop(name, None)
    return {
        **{key: shared[key] for key in SHARED},
        "precisions": {name: record["precision"] for name, record in plain.items()},
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
        if found := differences(record, session.records[name]):
            raise ValueError(
                f"{session.path.name}: {name}: {'; '.join(map(str, found))}. Only sessions of one "
                "machine, workload and stack show what chance alone does; move the others away"
            )


def _rows(record: Record, runs: list[dict[str, Any]]) -> list[list[float]]:
    """The rounds of a record in the order of `COLUMNS`; ``runs`` grows by new runs."""
    rows = []
    for entry, plain in zip(record.rounds, record.to_dict()["rounds"], strict=True):
        sizes = entry.seconds, entry.cpu_seconds, entry.peak_memory_bytes
        if None in sizes or entry.state is not None:
            raise ValueError(
                f"{record.precision}: a round without a time or peak memory, or one of a GPU; only "
                "timed rounds of a CPU are accepted"
            )
        if plain["run"] not in runs:
            runs.append(plain["run"])
        rows.append([*(round(size, 6) for size in sizes), runs.index(plain["run"])])
    return rows


def turns_of(record: Record) -> Turns:
    """The timed turns of a record.

    Raises:
        ValueError: It has none.
    """
    if record.turns is None:
        raise ValueError(f"{record.precision}: no timed turns; record sessions with --turns")
    return record.turns


def _ticks(record: Record) -> list[int]:
    """Steps of a turn, and then the times of the turns in multiples of `TICK`."""
    turns = turns_of(record)
    return [turns.steps, *(round(seconds / TICK) for seconds in turns.seconds)]


def render(stretches: Sequence[Mapping[str, Any]]) -> str:
    """The text of sessions.json: a line for each item of a stretch and one for each session."""
    return "[\n" + ",\n".join(map(_render_stretch, stretches)) + "\n]\n"


def _render_stretch(plain: Mapping[str, Any]) -> str:
    head = [f"{json.dumps(key)}: {json.dumps(plain[key])}" for key in plain if key != "sessions"]
    body = ",\n".join(json.dumps(session, separators=(",", ":")) for session in plain["sessions"])
    return "{\n" + ",\n".join(head) + ',\n"sessions": [\n' + body + "\n]\n}"


def rebuild(stretches: Sequence[Mapping[str, Any]]) -> Recording:
    """The records that `compact` was given, apart from what no verdict reads.

    The times of the warm-up and the diagnosis of a failed training are not kept.
    """
    return Recording(
        tuple(map(_rebuild_stretch, stretches)),
        tuple(tuple(row["saved_at"] for row in plain["sessions"]) for plain in stretches),
    )


def _rebuild_stretch(plain: Mapping[str, Any]) -> tuple[Records, ...]:
    def record(name: str, session: Mapping[str, Any]) -> Record:
        rows = session["rounds"][name]
        steps, *ticks = session["turns"][name]
        rounds = [dict(zip(plain["columns"], row, strict=True)) for row in rows]
        runs = plain["runs"][name]
        companions = sorted(other for other in plain["precisions"] if other != name)
        return Record.from_dict(
            {
                **{key: plain[key] for key in SHARED},
                "precision": plain["precisions"][name],
                "companions": companions,
                "warm_up_seconds": None,
                "rounds": [{**entry, "run": runs[entry["run"]], "state": None} for entry in rounds],
                "turns": {
                    "steps": steps,
                    "seconds": [tick * TICK for tick in ticks],
                    "calibrators": list(session["calibrators"].items()),
                    "warm_up": session["warm_up"],
                    "steady": True,
                    "state": None,
                },
                "diagnosis": None,
            }
        )

    return tuple(
        {name: record(name, session) for name in session["rounds"]} for session in plain["sessions"]
    )


def read(path: Path = DATA) -> Recording:
    """Reads sessions.json."""
    return rebuild(json.loads(path.read_text(encoding="utf-8")))


def collect(folder: Path, path: Path = DATA) -> int:
    """Adds a folder of saved sessions to sessions.json as a stretch and returns their number.

    Raises:
        ValueError: A file in it is no saved session, `compact` refuses them, or they are not newer
            than the stretches that are there.
    """
    sessions, skipped = read_sessions(folder)
    if skipped or not sessions:
        reasons = "; ".join(f"{skip.path.name}: {skip.reason}" for skip in skipped)
        raise ValueError(f"{reasons or folder}: only a folder of whole sessions is accepted")
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    new = compact(sessions)
    if known and new["sessions"][0]["saved_at"] <= known[-1]["sessions"][-1]["saved_at"]:
        raise ValueError(f"{folder}: not newer than all of {path.name}; give new sessions")
    path.write_text(render([*known, new]), encoding="utf-8")
    return len(sessions)
