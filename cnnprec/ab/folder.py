"""The folder of a comparison: its lock, its plan, its sessions."""

from __future__ import annotations

import contextlib
import fcntl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from cnnprec.ab.plan import LAYOUT_VERSION, AbError, Exit, Job, Plan, schedule
from cnnprec.records.read_sessions import SavedSession, read_session


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Makes the folder and keeps every other ab out of it. Gives the lock's descriptor."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        lock = (folder / "lock").open("ab")
    except OSError as error:
        raise AbError(
            f"--out {folder}: cannot be written ({error.strerror}). Make it writable or choose "
            "another folder with --out."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AbError(
                f"--out {folder}: another cnnprec ab, or a process that it left, is at work there. "
                "Wait for it or choose another folder with --out."
            ) from error
        yield lock.fileno()


def same_plan(plan: Plan, folder: Path) -> bool:
    """Whether the folder holds this plan already; refuses a folder with any other."""
    path = folder / "plan.json"
    remedy = "Choose another folder with --out."
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        if (folder / "sessions").exists():
            raise AbError(
                f"--out {folder}: holds sessions but no plan.json, so nobody knows what they "
                f"are. {remedy}"
            ) from None
        return False
    try:
        plain = msgspec.json.decode(text)
        version = plain.get("version") if isinstance(plain, dict) else None
        if version != LAYOUT_VERSION:
            raise AbError(
                f"{path}: layout version {version!r}; this cnnprec knows {LAYOUT_VERSION}. {remedy}"
            )
        found = msgspec.convert(plain, Plan)
        before = found.arguments()
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError) as error:
        raise AbError(f"{path}: not a plan of cnnprec ab ({error}). {remedy}") from error
    now = plan.arguments()
    changed = [
        f"  {name} {before[name] or '(none)'}, now {now[name] or '(none)'}"
        for name in now
        if before[name] != now[name]
    ]
    if changed:
        raise AbError(
            f"--out {folder}: holds a comparison with other arguments:\n"
            + "\n".join(changed)
            + f"\n{remedy} Or go on with that one:\n  {found.command(folder)}"
        )
    return True


def kept_sessions(plan: Plan, folder: Path) -> dict[Job, SavedSession]:
    """The complete sessions of an earlier start."""
    kept = {}
    for job in schedule(plan.looks[-1]):
        path = session_path(folder, job)
        if path.exists():
            try:
                kept[job] = read_session(path)
            except ValueError as error:
                # It was complete and readable once. To measure it again without a word would
                # let a figure be drawn anew until it suits.
                raise AbError(
                    f"{error}\nIt was complete before. If it is lost, delete it and the same "
                    "command measures it again.",
                    Exit.INVALID,
                ) from error
    return kept


def session_path(folder: Path, job: Job) -> Path:
    """Where the session of a job is kept."""
    return folder / "sessions" / f"{job}.json"
