"""Notices a training that hangs: what waits in a kernel for ever cannot be interrupted."""

import contextlib
import statistics
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cnnprec.records.record import Record
from cnnprec.text import duration

_FACTOR = 20
_LEAST_SECONDS = 60.0
_FIRST_SECONDS = 1800.0  # XLA and cuDNN may take minutes to choose the kernels of a new model
_TICK_SECONDS = 1.0
_DEBUGGERS = {"bdb", "pdb", "pydevd", "debugpy"}


class Watchdog:
    """Watches, from a thread of its own, what the main thread trains; but not under a debugger.

    `on_hang` is called there with a sentence, where a block of `over` took `_FACTOR` times its
    usual time and at least a minute, or `_FIRST_SECONDS` without one. None watches nothing.
    """

    def __init__(self, on_hang: Callable[[str], None] | None) -> None:
        self._on_hang = on_hang
        self._watched: tuple[str, float, str] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> None:
        if self._on_hang is not None:
            self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        if self._on_hang is not None:
            self._thread.join()

    @contextlib.contextmanager
    def over(self, what: str, usual: Sequence[float] | None = ()) -> Iterator[None]:
        """Watches a block, by the seconds that others like it took; with None it does not."""
        if usual:
            limit = max(_LEAST_SECONDS, _FACTOR * statistics.median(usual))
            self._watched = what, limit, f", {_FACTOR} times its usual time or a minute"
        elif usual is not None:
            self._watched = what, _FIRST_SECONDS, ""
        try:
            yield
        finally:
            self._watched = None

    def _watch(self) -> None:
        seen, waited = None, 0.0
        while not self._ended.wait(_TICK_SECONDS):
            watched = self._watched
            # Ticks are counted, because a process that was stopped for an hour has not hung.
            waited = waited + _TICK_SECONDS if watched is seen else 0.0
            seen = watched
            if watched and waited > watched[1] and self._on_hang and not _debugged():
                what, limit, why = watched
                self._on_hang(f"{what} has not ended within {duration(limit)}{why}: it hangs")


def usual_seconds(record: Record) -> list[float] | None:
    """What a run takes: as those before it, or by the warm-up; None where nothing is timed."""
    times = [entry.seconds for entry in record.rounds if entry.seconds is not None]
    if not times and record.warm_up_seconds is not None:
        times = [record.warm_up_seconds * record.config.steps / record.config.steps_per_execution]
    return times or None


def _debugged() -> bool:
    """Whether a debugger holds this process, from outside or in the main thread."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("TracerPid:") and line.split()[1] != "0":
                return True
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        if frame.f_trace is not None or frame.f_globals.get("__name__") in _DEBUGGERS:
            return True
        frame = frame.f_back
    return False
