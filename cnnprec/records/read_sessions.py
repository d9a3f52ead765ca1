"""Reading saved sessions.

One file is one session: pytest-benchmark's JSON, in which each benchmark carries a `Record` as
``extra_info["cnnprec"]``. The block ``"cnnprec"`` at the top holds what belongs to the session, and
as ``"common"`` the fields that its records do not repeat.
"""

import contextlib
import dataclasses
import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import msgspec

from cnnprec.files import read_regular
from cnnprec.machine.memory import without_collection
from cnnprec.records.record import SCHEMA_VERSION, Record
from cnnprec.records.session_files import matching_files, numbered
from cnnprec.text import printable

_MOST_BYTES = 100_000_000  # a session of eight benchmarks takes less than 60,000

_AGAIN = "Delete it or move it away; a new one comes from pytest benchmarks/ --benchmark-save=NAME."


@dataclasses.dataclass(frozen=True)
class SavedSession:
    """One saved session."""

    path: Path
    name: str  # what was given to ``--benchmark-save``; of a file of another name its stem
    saved_at: datetime  # in UTC
    records: Mapping[str, Record]  # by the precision's name, in the order of the file
    failed: bool  # whether a test of the session failed
    verdict: str | None  # how the session itself compared with its baseline, if it did
    order_seed: int | None = None
    # SHA-256 of the file without its white space; empty without a file.
    digest: str = dataclasses.field(default="", compare=False)


@dataclasses.dataclass(frozen=True)
class Skipped:
    """A file that is no saved session of this project, or a copy of one, and why."""

    path: Path
    reason: str
    copy: bool = False


class _ExtraInfo(msgspec.Struct):
    cnnprec: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


class _Benchmark(msgspec.Struct):
    name: str
    extra_info: _ExtraInfo


class _Block(msgspec.Struct):
    common: dict[str, msgspec.Raw] = {}
    failed: bool = False
    verdict: str | None = None
    order_seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None


class _File(msgspec.Struct):
    """The part of the layout that is read; msgspec passes over the rest without building it."""

    benchmarks: list[_Benchmark]
    datetime: str
    cnnprec: _Block = msgspec.field(default_factory=_Block)


_DECODER = msgspec.json.Decoder(_File)
_RECORD = msgspec.json.Decoder(Record)


def read_session(path: Path) -> SavedSession:
    """Reads one file; a ValueError that names file, field and remedy if it is no whole session."""
    try:
        return _read(path, {})
    except ValueError as error:
        raise ValueError(f"{printable(str(path))}: {error}") from error


def _read(path: Path, known: dict[Any, Any]) -> SavedSession:
    try:
        content = read_regular(path, _MOST_BYTES)
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
        wrong = printable(str(error))
        raise ValueError(f"not the layout of pytest-benchmark: {wrong}. {_AGAIN}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not whole and valid JSON: {error}. {_AGAIN}") from error
    return SavedSession(
        path=path,
        name=numbered(path)[1],
        saved_at=_utc(file.datetime),
        records=MappingProxyType(_records(file, known)),
        failed=file.cnnprec.failed,
        verdict=file.cnnprec.verdict,
        order_seed=file.cnnprec.order_seed,
        digest=hashlib.sha256(content.translate(None, b" \n\r\t")).hexdigest(),
    )


# What JSON has to escape, the quote and the backslash apart.
_ESCAPED = re.compile(rb"\\[^\"\\/]")


def _printable(value: Any) -> Any:
    """A value of JSON types whose texts are printable, so that all who print them may."""
    if isinstance(value, dict):
        return {_printable(key): _printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_printable(item) for item in value]
    return printable(value) if isinstance(value, str) else value


def _records(file: _File, known: dict[Any, Any]) -> dict[str, Record]:
    records: dict[str, Record] = {}
    silent: list[str] = []
    common = msgspec.json.encode(file.cnnprec.common)[1:-1]
    for benchmark in file.benchmarks:
        raw = bytes(benchmark.extra_info.cnnprec)
        if raw in (b"", b"null"):
            continue  # a benchmark that trains no precision, such as those of the overhead
        if common and raw.startswith(b"{"):  # of two values of a field the last one counts
            raw = b"{%s}" % b",".join(filter(None, (common, raw[1:-1].strip())))
        where = printable(benchmark.name)
        try:
            record = _record(raw)
        except (ValueError, OverflowError, RecursionError, msgspec.DecodeError) as error:
            raise ValueError(f"{where}: {printable(str(error))}") from error
        name = record.precision.name
        if not re.fullmatch("[A-Za-z0-9_ .-]{1,40}", name):  # it begins lines of its own
            raise ValueError(f"{where}: {name!r} is no name of a precision. {_AGAIN}")
        if name in records:
            raise ValueError(f"two records of precision {name!r}, one is accepted. {_AGAIN}")
        if not record.rounds:
            raise ValueError(f"{where}: the record holds no round. {_AGAIN}")
        records[name] = _sharing(record, known)
        if b'"companions"' not in raw:  # of a schema version before 4
            silent.append(name)
    if not records:
        raise ValueError(f"no benchmark in it holds a record of cnnprec. {_AGAIN}")
    for name in silent:
        companions = tuple(sorted(other for other in records if other != name))
        records[name] = dataclasses.replace(records[name], companions=companions)
    return records


def _record(raw: bytes) -> Record:
    if not raw.isascii() or b"\x7f" in raw or _ESCAPED.search(raw):
        raw = msgspec.json.encode(_printable(msgspec.json.decode(raw)))
    # At once, in a third of the time, where nothing has to be put into other words.
    if b'"schema_version"' in raw:
        with contextlib.suppress(msgspec.DecodeError):
            record = _RECORD.decode(raw)
            if record.schema_version == SCHEMA_VERSION:
                return record
    return Record.from_dict(msgspec.json.decode(raw, type=dict[str, Any]))


_SHARED = {"precision", "config", "data", "environment", "companions", "numerics", "run"}


def _sharing(record: Record, known: dict[Any, Any]) -> Record:
    """The same record; what equals a value already known is replaced by that."""
    for owner in (record, *record.rounds):
        fields = vars(owner)  # past the frozen class, because nobody else has it yet
        for name in fields.keys() & _SHARED:
            fields[name] = known.setdefault(fields[name], fields[name])
    return record


def _utc(text: str) -> datetime:
    try:
        # Python 3.10 does not read the Z of ISO 8601.
        time = datetime.fromisoformat(re.sub("Z$", "+00:00", text))
        if time.tzinfo is None:  # releases of pytest-benchmark before 5 left it out
            time = time.replace(tzinfo=timezone.utc)
        return time.astimezone(timezone.utc)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"datetime {text!r} is no ISO 8601 time: {error}. {_AGAIN}") from error


def read_sessions(
    folder: str | Path, pattern: str | None = None
) -> tuple[tuple[SavedSession, ...], tuple[Skipped, ...]]:
    """Reads the saved sessions of a folder and of its subfolders, one level deep.

    Args:
        folder: Where sessions are saved.
        pattern: Which of them: a number (``3`` or ``0003``), the name given to
            ``--benchmark-save``, the beginning of a file name, a glob for one of these, or the path
            of a file anywhere. None for all.

    Returns the sessions, oldest first; and what is not readable as one, or a copy of another.
    """
    folder = Path(folder)
    try:
        paths = matching_files(folder, pattern)
    except OSError as error:
        return (), (Skipped(folder, f"cannot be listed: {error.strerror or error}"),)
    return read_files(paths)


def read_files(paths: Iterable[Path]) -> tuple[tuple[SavedSession, ...], tuple[Skipped, ...]]:
    """Reads these files; returns what `read_sessions` does."""
    sessions, skipped = [], []
    known: dict[Any, Any] = {}  # sessions of one machine have most in common
    # Half of the time of reading a thousand sessions was the garbage collector's.
    with without_collection():
        for path in paths:
            try:
                sessions.append(_read(path, known))
            except ValueError as error:
                skipped.append(Skipped(path, str(error)))
    kept, copies = without_copies(sessions)
    skipped += [Skipped(session.path, reason, copy=True) for session, reason in copies]
    return kept, tuple(sorted(skipped, key=lambda skip: skip.path))


def without_copies(
    sessions: Iterable[SavedSession],
) -> tuple[tuple[SavedSession, ...], tuple[tuple[SavedSession, str], ...]]:
    """The sessions, oldest first, without those that hold the same measurement; and these, why."""
    kept: list[SavedSession] = []
    copies: list[tuple[SavedSession, str]] = []
    first_of: dict[str, SavedSession] = {}
    # A file is kept rather than a link to it, and then the first by age.
    for session in sorted(sessions, key=lambda s: (s.path.is_symlink(), age(s))):
        first = first_of.setdefault(session.digest, session) if session.digest else session
        if first is session:
            kept.append(session)
        else:
            named = first.path if first.path.name == session.path.name else first.path.name
            copies.append((session, f"copy of {named}: one measurement counts once"))
    return tuple(sorted(kept, key=age)), tuple(copies)


def age(session: SavedSession) -> tuple[datetime, str, str]:
    """A key that sorts sessions, the oldest first."""
    return session.saved_at, session.name, str(session.path)
