"""Saved sessions: reading, writing, and choosing those to compare with.

The only module that knows the layout of pytest-benchmark's JSON. One file is one session;
each benchmark in it carries a `Record` as ``extra_info["cnnprec"]``, and the block
``"cnnprec"`` at the top holds what belongs to the session as a whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import json
import math
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from cnnprec.compare import ENOUGH
from cnnprec.fingerprint import Difference, Part, differences, refused, stack
from cnnprec.memory import without_collection
from cnnprec.record import Record

MOST_BYTES = 20_000
"""A saved benchmark should stay below this. Writing never refuses a larger one; that every
profile stays below it is a test."""

_WIDTH = 100  # columns of a saved file, where its values allow it
_NUMBERED = re.compile(r"(\d{4,})_(.+)")
# What pytest-benchmark refuses in --benchmark-save, for files that any system can hold.
_NOT_IN_A_NAME = re.compile(r'[\\/:*?<>|"\x00-\x1f]')
_AGAIN = "Delete it or move it away; a new one comes from pytest benchmarks/ --benchmark-save=NAME."


class SaveError(ValueError):
    """A session could not be saved; the message names the folder, the reason, the remedy."""


@dataclasses.dataclass(frozen=True)
class SavedSession:
    """One saved session.

    Attributes:
        path: The file.
        name: What was given to ``--benchmark-save``; for a file of another name its stem.
        number: The number that the file name begins with; None if it has none.
        saved_at: When it was saved, in UTC.
        commit: The commit that it was taken at, ``-dirty`` if a file was changed; None if
            unknown.
        records: What was measured, by the precision's name, in the order of the file. A
            precision that was not measured is not there.
        failed: Whether a test of the session failed.
        verdict: How the session itself compared with its baseline; None if it did not.
    """

    path: Path
    name: str
    number: int | None
    saved_at: datetime
    commit: str | None
    records: Mapping[str, Record]
    failed: bool
    verdict: str | None


@dataclasses.dataclass(frozen=True)
class Skipped:
    """A file that is no saved session of this project, and why."""

    path: Path
    reason: str


class _ExtraInfo(msgspec.Struct):
    cnnprec: dict[str, Any] | None = None


class _Benchmark(msgspec.Struct):
    name: str
    extra_info: _ExtraInfo


class _CommitInfo(msgspec.Struct):
    id: str | None = None
    dirty: bool | None = None


class _Block(msgspec.Struct):
    failed: bool = False
    verdict: str | None = None


class _File(msgspec.Struct):
    """The part of the layout that is read.

    msgspec passes over the rest without building it.
    """

    benchmarks: list[_Benchmark]
    datetime: str
    commit_info: _CommitInfo = msgspec.field(default_factory=_CommitInfo)
    cnnprec: _Block = msgspec.field(default_factory=_Block)


_DECODER = msgspec.json.Decoder(_File)


def read_session(path: Path) -> SavedSession:
    """Reads one file, of ``--benchmark-save`` or ``--benchmark-json``.

    Raises:
        ValueError: The file cannot be read, is not whole, is not pytest-benchmark's, holds
            no record, two of one precision, one without a round, or one that
            `Record.from_dict` refuses. The message names the file, what is wrong with it
            and the remedy.
    """
    try:
        return _read(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read(path: Path) -> SavedSession:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"cannot be read: {error.strerror or error}. Give a file that --benchmark-save or "
            "--benchmark-json wrote."
        ) from error
    if not content.strip():
        raise ValueError(f"the file is empty. {_AGAIN}")
    try:
        file = _DECODER.decode(content)
    except msgspec.ValidationError as error:
        raise ValueError(f"not the layout of pytest-benchmark: {error}. {_AGAIN}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not whole and valid JSON: {error}. {_AGAIN}") from error
    records = _records(file.benchmarks)
    return SavedSession(
        path=path,
        name=_name(path),
        number=_number(path),
        saved_at=_utc(file.datetime),
        commit=_commit(records.values(), file.commit_info),
        records=MappingProxyType(records),
        failed=file.cnnprec.failed,
        verdict=file.cnnprec.verdict,
    )


def _records(benchmarks: Iterable[_Benchmark]) -> dict[str, Record]:
    records: dict[str, Record] = {}
    for benchmark in benchmarks:
        plain = benchmark.extra_info.cnnprec
        if plain is None:
            continue  # a benchmark that trains no precision, such as those of the overhead
        try:
            record = Record.from_dict(plain)
        except (ValueError, OverflowError, RecursionError) as error:
            raise ValueError(f"{benchmark.name}: {error}") from error
        name = record.precision.name
        if name in records:
            raise ValueError(f"two records of precision {name!r}, one is accepted. {_AGAIN}")
        if not record.rounds:
            raise ValueError(f"{benchmark.name}: the record holds no round. {_AGAIN}")
        records[name] = record
    if not records:
        raise ValueError(f"no benchmark in it holds a record of cnnprec. {_AGAIN}")
    return records


def _utc(text: str) -> datetime:
    try:
        # Python 3.10 does not read the Z of ISO 8601.
        time = datetime.fromisoformat(re.sub("Z$", "+00:00", text))
        if time.tzinfo is None:  # releases of pytest-benchmark before 5 left it out
            time = time.replace(tzinfo=timezone.utc)
        return time.astimezone(timezone.utc)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"datetime {text!r} is no ISO 8601 time: {error}. {_AGAIN}") from error


def _commit(records: Iterable[Record], info: _CommitInfo) -> str | None:
    for record in records:
        if record.environment.commit is not None:
            return record.environment.commit
    # Records of schema version 1 leave it to pytest-benchmark, which has words for "none".
    if info.id is None or not re.fullmatch("[0-9a-f]{12,}", info.id):
        return None
    return info.id[:12] + ("-dirty" if info.dirty else "")


def load_sessions(
    folder: Path, pattern: str | None = None
) -> tuple[tuple[SavedSession, ...], tuple[Skipped, ...]]:
    """Reads the saved sessions of a folder and of its subfolders, one level deep.

    The subfolders are those that pytest-benchmark makes for each machine.

    Args:
        folder: Where sessions are saved. One that does not exist holds none.
        pattern: Which of them, as given to ``--benchmark-compare``: a number (``3`` or
            ``0003``), the name given to ``--benchmark-save`` or a glob for it, the beginning
            of a file name or a glob, with or without the subfolder, or the path of a file,
            which may lie elsewhere. None for all.

    Returns:
        The sessions, oldest first, those of one moment by name; and the files that are not
        readable as one. Nothing that matches is an empty result, not an error.
    """
    sessions, skipped = [], []
    try:
        paths = _paths(folder, pattern)
    except OSError as error:
        return (), (Skipped(folder, f"cannot be listed: {error.strerror or error}"),)
    # Half of the time of reading a thousand sessions was the garbage collector's.
    with without_collection():
        for path in paths:
            try:
                sessions.append(_read(path))
            except ValueError as error:
                skipped.append(Skipped(path, str(error)))
    return tuple(sorted(sessions, key=_age)), tuple(skipped)


def _age(session: SavedSession) -> tuple[datetime, str, str]:
    return session.saved_at, session.name, str(session.path)


def _paths(folder: Path, pattern: str | None) -> list[Path]:
    if not pattern:
        return _files(folder)
    if re.fullmatch("[0-9]+", pattern):
        return [path for path in _files(folder) if _number(path) == int(pattern)]
    with contextlib.suppress(OSError):  # a glob may be longer than a name can be
        if Path(pattern).is_file():
            return [Path(pattern)]
    glob = f"{pattern}*"
    return [
        path
        for path in _files(folder)
        if fnmatch.fnmatchcase(_name(path), pattern)
        or fnmatch.fnmatchcase(path.name, glob)
        or fnmatch.fnmatchcase(path.relative_to(folder).as_posix(), glob)
    ]


def _files(folder: Path) -> list[Path]:
    """All that has the name of a saved session, a folder of such a name included."""
    if not folder.exists():
        return []
    entries = sorted(folder.iterdir())
    below = [path for entry in entries if entry.is_dir() for path in sorted(entry.glob("*.json"))]
    return [entry for entry in entries if entry.suffix == ".json"] + below


def _name(path: Path) -> str:
    numbered = _NUMBERED.fullmatch(path.stem)
    return numbered[2] if numbered else path.stem


def _number(path: Path) -> int | None:
    numbered = _NUMBERED.fullmatch(path.stem)
    return int(numbered[1]) if numbered else None


def write_session(folder: Path, name: str, output: Mapping[str, Any]) -> Path:
    """Saves a session under the next free number, whole or not at all.

    The text is written to a hidden file in the same folder and brought to the disk before it
    gets its name, so a file with the name of a session is always whole. The number is
    claimed with a second hidden file, which only one process can create; sessions that are
    saved at the same moment get different numbers. The folder's subfolders count as taken
    numbers too. A process that is killed leaves at most its hidden files.

    What pytest-benchmark puts in and nobody reads again is left out (the flags of the CPU),
    and its placeholder for a parameter that is not JSON is the parameter's name instead.

    Args:
        folder: Where to; it is made if it is missing.
        name: What was given to ``--benchmark-save``.
        output: pytest-benchmark's JSON of the session, as it hands it to
            ``pytest_benchmark_update_json``. It is not changed.

    Returns:
        The file, ``NNNN_name.json``.

    Raises:
        SaveError: The name cannot be part of a file name, a number in it is not finite, or
            the folder cannot be written.
    """
    if not name or _NOT_IN_A_NAME.search(name):
        raise SaveError(
            f"--benchmark-save={name}: a file name cannot hold it. Use letters, digits, "
            "'-', '_' and '.'."
        )
    text = _layout(_slim(output))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        hidden = folder / f".{secrets.token_hex(8)}.tmp"
        try:
            _write(hidden, f"{text}\n".encode())
            return _publish(hidden, folder, name)
        finally:
            with contextlib.suppress(OSError):
                hidden.unlink()
    except OSError as error:
        raise SaveError(
            f"the session cannot be saved in {folder}: {error.strerror or error}. Make room or "
            "permit writing there, or give another folder with --benchmark-storage=file://DIR."
        ) from error


def _write(path: Path, content: bytes) -> None:
    descriptor = _create(path)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _create(path: Path) -> int:
    # 0o666: what the umask leaves of it, as for any other file. A baseline is shared.
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)


def _publish(hidden: Path, folder: Path, name: str) -> Path:
    number = max(_numbers(folder), default=0)
    while True:
        number += 1
        claim = folder / f".{number:04}.claim"
        try:
            os.close(_create(claim))
        except FileExistsError:
            continue
        try:
            # Looked at again: it may have been claimed, used and released since the first
            # look. While the claim is held nobody else can use the number, so a rename is
            # safe. Unlike a hard link it works on every file system.
            if number in _numbers(folder):
                continue
            path = folder / f"{number:04}_{name}.json"
            hidden.rename(path)
        finally:
            with contextlib.suppress(OSError):
                claim.unlink()
        with contextlib.suppress(OSError):  # The session is saved; this only makes it last.
            _sync_folder(folder)
        return path


def _numbers(folder: Path) -> set[int]:
    return {number for path in _files(folder) if (number := _number(path)) is not None}


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def benchmark_bytes(output: Mapping[str, Any]) -> dict[str, int]:
    """How large each benchmark is in the file that `write_session` makes, in bytes.

    Returns:
        Bytes by the benchmark's name; `MOST_BYTES` is the aim.

    Raises:
        SaveError: A number in it is not finite.
    """
    return {
        benchmark["name"]: len(_layout(benchmark, 2).encode())
        for benchmark in _slim(output)["benchmarks"]
    }


def _slim(output: Mapping[str, Any]) -> dict[str, Any]:
    """A copy as plain JSON types, without what nobody reads again."""
    try:
        # str: a parameter that is a Precision becomes its name.
        plain: dict[str, Any] = json.loads(json.dumps(output, allow_nan=False, default=str))
    except (ValueError, TypeError) as error:
        where = "; ".join(_not_finite(output)) or error
        raise SaveError(
            f"the session cannot be saved as JSON: {where}. Only finite numbers and plain types "
            "are accepted; Record.to_dict writes other numbers as words."
        ) from error
    cpu = (plain.get("machine_info") or {}).get("cpu")
    if isinstance(cpu, dict):
        cpu.pop("flags", None)
    return plain


def _not_finite(value: Any, where: str = "$") -> Iterator[str]:
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{where} = {value}"
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _not_finite(item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _not_finite(item, f"{where}[{index}]")


def _layout(value: Any, depth: int = 0) -> str:
    """JSON with a line for each item of what does not fit on one, lists of numbers apart."""
    flat = json.dumps(value)
    items = value.values() if isinstance(value, dict) else value
    if len(flat) + depth <= _WIDTH or not any(isinstance(item, dict | list) for item in items):
        return flat
    if isinstance(value, dict):
        rows = [f"{json.dumps(key)}: {_layout(item, depth + 1)}" for key, item in value.items()]
    else:
        rows = [_layout(item, depth + 1) for item in value]
    opening, closing = flat[0], flat[-1]
    indent = "\n" + " " * (depth + 1)
    return f"{opening}{indent}{f',{indent}'.join(rows)}{indent[:-1]}{closing}"


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which saved sessions to compare with, and why not the others.

    Attributes:
        sessions: The baseline, oldest first. Empty if there is none.
        changed: What differs in the stack between the baseline and now, each once.
        refused: Sessions that are comparable in no precision or contradict the current one
            in some, with the reasons.
        unfit: Sessions that are no baseline whatever they hold, with the reason.
    """

    sessions: tuple[SavedSession, ...]
    changed: tuple[Difference, ...]
    refused: tuple[tuple[SavedSession, tuple[Difference, ...]], ...]
    unfit: tuple[tuple[SavedSession, str], ...]


def select(
    sessions: Iterable[SavedSession],
    current: Mapping[str, Record],
    vary: frozenset[str] | None = None,
) -> Selection:
    """Chooses the baseline of a session among the saved ones.

    Unfit is a session in which a test failed or that was itself worse than its baseline: it
    would make the regression the new normal. Comparable is one that shares a precision with
    the current session and agrees with it, by `cnnprec.fingerprint.refused`, in every
    precision that they share.

    The comparable sessions are grouped by their stack, the project's own code apart: commits
    follow each other by the dozen and rarely touch the time, so they pool, while the pool of
    two TensorFlows has neither's mean, and a spread that is neither's. The newest group with
    `ENOUGH` sessions is taken, for two reasons. A comparison with a few sessions finds little,
    so the first session after an update must not push a good baseline out. And among good
    ones the newest says best how fast the machine is now. If no group has enough, the newest
    is better than none. The current stack's own group competes like any other.

    With ``vary`` the question is what a certain change did, so a group from before the change
    comes first where there is one. If the code is varied, sessions of the current code are a
    group of their own: they have the change already.

    Args:
        sessions: The saved sessions, in any order.
        current: The records of the current session by precision; they may have no rounds.
        vary: Names of the stack that are meant to differ; None for all.
    """
    unfit: list[tuple[SavedSession, str]] = []
    turned_down: list[tuple[SavedSession, tuple[Difference, ...]]] = []
    groups: dict[object, list[SavedSession]] = {}
    for session in sorted(sessions, key=_age):
        if reason := _unfit(session):
            unfit.append((session, reason))
        elif reasons := _refused(session, current, vary):
            turned_down.append((session, reasons))
        else:
            groups.setdefault(_group(session, current, vary), []).append(session)
    chosen = _choose(list(groups.values()), current, vary)
    return Selection(
        sessions=tuple(chosen),
        changed=_once(
            difference
            for session in chosen
            for difference in _differences(session, current)
            if difference.part is Part.STACK
        ),
        refused=tuple(turned_down),
        unfit=tuple(unfit),
    )


def _unfit(session: SavedSession) -> str | None:
    if session.failed:
        return "a test of the session failed"
    if session.verdict == "FAIL":
        return "the session was itself worse than its baseline (verdict FAIL)"
    return None


def _shared(session: SavedSession, current: Mapping[str, Record]) -> list[str]:
    return [name for name in session.records if name in current]


def _differences(session: SavedSession, current: Mapping[str, Record]) -> tuple[Difference, ...]:
    return _once(
        difference
        for name in _shared(session, current)
        for difference in differences(session.records[name], current[name])
    )


def _refused(
    session: SavedSession, current: Mapping[str, Record], vary: frozenset[str] | None
) -> tuple[Difference, ...]:
    if _shared(session, current):
        return refused(_differences(session, current), vary)
    return (
        Difference(
            Part.WORKLOAD,
            "precisions",
            ", ".join(session.records),
            ", ".join(current) or "none",
        ),
    )


def _group(
    session: SavedSession, current: Mapping[str, Record], vary: frozenset[str] | None
) -> object:
    shared = _shared(session, current)
    codes = {current[name].environment.code for name in shared}
    # The precisions of a session have one environment, as good as always: look at it once.
    one_of_each = {
        record.environment: record for record in (session.records[name] for name in shared)
    }
    stacks, has_change = set(), set()
    for record in one_of_each.values():
        values = stack(record)
        has_change.add(values.pop("code") in codes)
        stacks.add(tuple(values.values()))
    # Only where the code is varied do the sessions that have it already stand apart.
    return frozenset(stacks), frozenset(has_change) if vary and "code" in vary else None


def _choose(
    groups: Sequence[list[SavedSession]],
    current: Mapping[str, Record],
    vary: frozenset[str] | None,
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
    return max(large or groups, key=lambda group: _age(group[-1]), default=[])


def _once(found: Iterable[Difference]) -> tuple[Difference, ...]:
    return tuple(dict.fromkeys(found))
