"""The folder of a comparison: its lock, its plan, its sessions."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cnnprec.ab.plan import AbError, Exit, Job, Plan, schedule
from cnnprec.files import read_regular
from cnnprec.records.read_sessions import SavedSession, read_session, without_copies
from cnnprec.text import printable

PLAN = "plan.txt"  # the options that ask for what is compared
_MOST_BYTES = 1_000_000  # a plan takes less than 1,000
_AGAIN = "If it is lost, delete it and the same command measures it again."


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Makes the folder and keeps every other ab out of it, or raises; gives the descriptor."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Without a plan nothing but the lock is ours; with one, all is (see `same_plan`).
        names = {entry.name for entry in folder.iterdir()}
        if PLAN not in names and names - {"lock"}:
            raise AbError(
                f"--out {folder}: is not empty and holds no {PLAN}, so it is none of cnnprec ab. "
                "Choose another folder with --out."
            )
        tempfile.TemporaryFile(dir=folder).close()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        lock = open(os.open(folder / "lock", flags, 0o666), "r+b")  # noqa: PTH123, SIM115
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
    path = folder / PLAN
    remedy = "Choose another folder with --out."
    try:
        found = read_regular(path, _MOST_BYTES).decode(errors="replace").strip()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise AbError(f"{path}: cannot be read: {error.strerror}. {remedy}") from error
    if found != str(plan):
        raise AbError(
            f"--out {folder}: holds a comparison with other options. {remedy} Or go on with that "
            f"one, whose options are:\n  {printable(found)}"
        )
    return True


def kept_sessions(plan: Plan, folder: Path) -> dict[Job, SavedSession]:
    """The complete sessions of an earlier start; AbError for one damaged or out of place."""
    kept: dict[Job, SavedSession] = {}
    for job in schedule(plan.looks[-1]):
        path = session_path(folder, job)
        if path.exists():
            try:
                kept[job] = read_session(path)
            except ValueError as error:
                # It was complete and readable once. To measure it again without a word would
                # let a figure be drawn anew until it suits.
                raise AbError(f"{error}\nIt was complete before. {_AGAIN}", Exit.INVALID) from error
    for session, reason in without_copies(kept.values())[1]:
        raise AbError(f"{session.path}: {reason}. {_AGAIN}", Exit.INVALID)
    for job, session in kept.items():
        if session.order_seed not in (None, job.pair):
            seed = f"its order seed is {session.order_seed}, so it is a session of another pair"
            raise AbError(f"{session.path}: {seed}. {_AGAIN}", Exit.INVALID)
    return kept


def session_path(folder: Path, job: Job, ending: str = ".json") -> Path:
    """Where the session of a job is kept; until it is complete it ends with ``.json.partial``."""
    return folder / "sessions" / f"{job}{ending}"
