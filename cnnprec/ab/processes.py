"""Processes of whole sessions: trying a side, running them, leaving none behind."""

import contextlib
import ctypes
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any, TypeAlias

from cnnprec.ab.plan import BENCHMARKS, AbError, Plan
from cnnprec.text import duration, printable

Jobs: TypeAlias = Iterable[tuple[Sequence[str], IO[Any]]]  # commands, and where each one writes

PYTEST = (sys.executable, "-m", "pytest")
_PROBE_SECONDS = 300.0  # collecting takes a second; on a cold network disk it may take minutes
_LINES_SHOWN = 15  # of the output of a process that failed
_PROBE_MARK = "cnnprec-ab-probe "
_PROBE = (
    "import sys, cnnprec, pytest; "
    f"print({_PROBE_MARK!r} + cnnprec.__file__, flush=True); "
    "sys.exit(pytest.main(sys.argv[1:]))"
)


def probe_side(name: str, plan: Plan, children: "Children") -> set[str]:
    """Tries a side without measuring; returns the names of its benchmarks."""
    side = plan.sides[name]
    # --verbosity comes last and overrules any -v or -q among the options: the names are read.
    command = [
        *(side.python, "-c", _PROBE, BENCHMARKS, "--order-seed=1", "-p", "no:cacheprovider"),
        *(*plan.options, "--collect-only", "--verbosity=-1"),
    ]
    with tempfile.TemporaryFile() as output:
        try:
            status = children.run(command, side.checkout, output, _PROBE_SECONDS)
        except subprocess.TimeoutExpired as error:
            limit = duration(_PROBE_SECONDS)
            raise AbError(f"{shlex.join(command)} did not end within {limit}") from error
        output.seek(0)
        lines = output.read().decode(errors="replace").splitlines()
    for line in lines:
        at = line.removeprefix(_PROBE_MARK)
        if at != line and not Path(at).resolve().is_relative_to(Path(side.checkout) / "cnnprec"):
            raise AbError(
                f"{name}: {side.python} imports {at}, not the package of {side.checkout}. Give an "
                "interpreter that heeds PYTHONPATH."
            )
    found = {match[1] for line in lines if (match := re.fullmatch(r"(\S+\.py::\S.*?)\s*", line))}
    if status or not found:
        raise AbError(
            f"{name}: {side.python} collects no benchmarks in {side.checkout} "
            f"({status_text(status)}). Its last lines:\n{indented(lines)}"
        )
    return found


def environment_in(checkout: str) -> dict[str, str]:
    """The environment of a child: the checkout's package comes before any that is installed.

    In a job of GitHub's the child is told of none: its pages would fill the summary.
    """
    paths = [checkout, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "GITHUB_ACTIONS": ""}


def indented(lines: Sequence[str]) -> str:
    """The last lines of an output, set apart from the message around them."""
    shown = lines[-_LINES_SHOWN:] or ["(no output)"]
    return "\n".join(f"  | {printable(line)}" for line in shown)


def status_text(status: int) -> str:
    """How a process ended, in words."""
    if status >= 0:
        return f"exit code {status}"
    return f"signal {-status} ({signal.strsignal(-status)})"


_PR_SET_CHILD_SUBREAPER = 36  # <sys/prctl.h>
_GRACE_SECONDS = 5.0  # between one signal to a child and the next, harder one


class InterruptError(Exception):
    """The user or the system asked to stop."""


# Becomes the child, after asking the kernel to kill it when this process dies. A preexec_fn would
# do that too, but it runs Python in a fork of a process with threads, which may hang.
_LAUNCHER = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):  # it died before the line above
    sys.exit(1)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and that would be inherited
try:
    os.execv(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"{sys.argv[2]} cannot be run: {error.strerror}")
"""


class Children:
    """Runs processes, one or some at a time, and leaves none behind.

    SIGINT, SIGTERM and SIGHUP stop the children first, each a process group of its own. If this
    process is killed outright, the kernel kills them. They keep the file `lock` open.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self, lock: int | None = None) -> None:
        self._kept = () if lock is None else (lock,)
        self._asked = False
        self._waiting = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Children":
        # So that what a child leaves behind, in whatever session, becomes a child of ours.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        for number in self._SIGNALS:
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *error: object) -> None:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raises `InterruptError` if a signal has arrived."""
        if self._asked:
            raise InterruptError

    def run(
        self, command: Sequence[str], checkout: str, output: IO[Any], seconds: float | None = None
    ) -> int:
        """Runs a process in a checkout to its end; returns its status, negative for a signal.

        It is gone where a signal arrived (InterruptError) or it took too long (TimeoutExpired).
        """
        return self.run_together([(command, output)], checkout, seconds)[0]

    def run_together(self, jobs: Jobs, checkout: str, seconds: float | None = None) -> list[int]:
        """Runs commands side by side, each with an output of its own, as `run` does one."""
        self.check()
        others = _own_children()
        running: list[subprocess.Popen[bytes]] = []
        try:
            for command, output in jobs:
                child = subprocess.Popen(  # noqa: S603 - the command is the user's own
                    [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command],
                    cwd=checkout,
                    env=environment_in(checkout),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    # A child that outlives this process all the same keeps the folder locked.
                    pass_fds=self._kept,
                )
                running.append(child)
            try:
                # The handler raises only from here on: a child not yet known could not be
                # stopped. It raises once, so that nothing disturbs the stopping.
                self._waiting = True
                self.check()
                return [child.wait(seconds) for child in running]
            finally:
                self._waiting = False
        finally:
            _stop_groups([child for child in running if child.returncode is None])
            _end_orphans(others)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._asked = True
        if self._waiting:
            self._waiting = False
            raise InterruptError


def _stop_groups(children: Iterable[subprocess.Popen[bytes]]) -> None:
    """Ends those children that still run, and whatever any of them started."""
    for number in (signal.SIGINT, signal.SIGTERM):
        left = [child for child in children if child.poll() is None]
        for child in left:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, number)
        until = time.monotonic() + _GRACE_SECONDS
        for child in left:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(0, until - time.monotonic()))
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _own_children() -> set[int]:
    found = set()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # After the name, which may hold anything: state, parent, ...
            if int(entry.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(entry.parent.name))
    return found


def _end_orphans(others: set[int]) -> None:
    """Ends what a child left behind; what one of these leaves behind comes next."""
    while orphans := _own_children() - others:
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
