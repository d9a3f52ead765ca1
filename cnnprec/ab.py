"""Paired A/B: two interpreters or two checkouts, measured by whole processes in turns.

For whatever can be installed side by side, such as a commit or a TensorFlow. A minute that is
slow for one process of a pair is slow for the other, so the ratio within a pair is much steadier
than the times themselves. Pair 1 runs A then B, pair 2 B then A, and so on: a machine that warms
up or slows down steadily favours neither side. Both processes of a pair run the benchmarks in
the same order.

The pairs are judged at looks planned beforehand, and no more are measured once they suffice.
Looking again and again would find a difference in the end where there is none. So the error of
5 % is split evenly between the looks: each of three looks may err in 5/3 % of all cases, and the
chance that any of them does is then at most 5 % (Bonferroni), whatever the looks share. That is
also why other looks cannot be planned once a measurement has begun.

This module runs processes and keeps files. What the figures say is decided by
`cnnprec.compare.compare_pairs`. Everything lies in one folder::

    plan.json             what is compared; a second start must ask for the same
    sessions/0001-A.json  one session, complete: its process ended with code 0
    logs/0001-A.log       all that its process printed
    ab.md, ab.json        the result, written again at every look
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import fcntl
import itertools
import json
import math
import os
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from cnnprec.baseline import SavedSession, read_session
from cnnprec.children import Children, InterruptError
from cnnprec.compare import (
    DEFAULT_MARGIN,
    DEFAULT_TOLERANCE,
    Comparison,
    Limits,
    Verdict,
    compare_pairs,
    fewest_pairs,
    figure,
    sizes,
)
from cnnprec.fingerprint import Difference, differences, refused
from cnnprec.precision import PRECISIONS
from cnnprec.record import Record
from cnnprec.report import verdicts, verdicts_markdown

LAYOUT_VERSION = 1
"""Version of the layout of ``plan.json`` and ``ab.json``."""

DEFAULT_LOOKS = (6, 12, 24)
"""Pairs after which the figures are looked at."""

FEWEST_PAIRS = 3
"""Pairs that the first look needs: two say next to nothing about the noise."""

BENCHMARKS = "benchmarks/test_training.py"
"""What both sides run, relative to the checkout."""

_PROBE_SECONDS = 300.0  # collecting takes a second; on a cold network disk it may take minutes
_LINES_SHOWN = 15  # of the output of a process that failed


class Exit(enum.IntEnum):
    """The exit codes of ``cnnprec ab``."""

    PASS = 0
    FAIL = 1
    INCONCLUSIVE = 3
    USAGE = 4
    INVALID = 5
    INTERRUPTED = 130


EXIT_OF: Mapping[Verdict, Exit] = MappingProxyType(
    {
        Verdict.PASS: Exit.PASS,
        Verdict.FAIL: Exit.FAIL,
        Verdict.INCONCLUSIVE: Exit.INCONCLUSIVE,
        Verdict.NO_BASELINE: Exit.INCONCLUSIVE,
        Verdict.INCOMPARABLE: Exit.USAGE,
        Verdict.INVALID: Exit.INVALID,
    }
)

# Options that would take a session out of ab's hands, and why.
_REFUSED_OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "--benchmark-json": "ab keeps every session itself",
        "--benchmark-save": "ab keeps every session itself",
        "--benchmark-autosave": "ab keeps every session itself",
        "--order-seed": "ab gives both sides of a pair the same",
        "--benchmark-compare": "ab compares A with B",
        "--benchmark-compare-fail": "ab compares A with B",
        "--benchmark-disable": "ab needs the times",
        "--benchmark-skip": "ab needs the times",
        "--collect-only": "ab needs the times",
        "--co": "ab needs the times",
        "-n": "benchmarks need the machine for themselves",
        "--numprocesses": "benchmarks need the machine for themselves",
        "--dist": "benchmarks need the machine for themselves",
    }
)


class AbError(Exception):
    """Why the comparison stopped, for people; `code` is the exit code it stops with."""

    def __init__(self, message: str, code: Exit = Exit.USAGE) -> None:
        super().__init__(message)
        self.code = code


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two: an interpreter and the checkout that it runs. Both paths absolute."""

    python: str
    checkout: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is compared and how; nothing of it may change once a session is measured.

    Attributes:
        sides: A and B, by these names.
        looks: Numbers of pairs after which the figures are looked at, increasing.
        tolerance: Relative slowdown up to which no failure is called.
        margin: Relative slowdown that must be excluded for a PASS.
        options: Options for pytest, the same on both sides.
        version: `LAYOUT_VERSION`.
    """

    sides: dict[str, Side]
    looks: tuple[int, ...]
    tolerance: float
    margin: float
    options: tuple[str, ...]
    version: int = LAYOUT_VERSION

    def arguments(self) -> dict[str, str]:
        """The options of ``cnnprec ab`` that ask for this plan, by name."""
        return {
            "--a-python": self.sides["A"].python,
            "--a-checkout": self.sides["A"].checkout,
            "--b-python": self.sides["B"].python,
            "--b-checkout": self.sides["B"].checkout,
            "--looks": ",".join(map(str, self.looks)),
            "--tolerance": str(self.tolerance),
            "--margin": str(self.margin),
            "--": shlex.join(self.options),
        }

    def command(self, folder: Path) -> str:
        """The whole command, for a shell."""
        own = {name: value for name, value in self.arguments().items() if name != "--"}
        words = [word for pair in own.items() for word in pair]
        after = ["--", *self.options] if self.options else []
        return shlex.join(["cnnprec", "ab", *words, "--out", str(folder), *after])


@dataclasses.dataclass(frozen=True, order=True)
class Job:
    """One process: which pair, counted from 1, and which side."""

    pair: int
    side: str

    def __str__(self) -> str:
        return f"{self.pair:04d}-{self.side}"


def schedule(pairs: int) -> tuple[Job, ...]:
    """The processes of so many pairs in the order in which they run: A B, B A, A B, ..."""
    return tuple(
        Job(pair, side) for pair in range(1, pairs + 1) for side in ("AB" if pair % 2 else "BA")
    )


def parse_looks(text: str) -> tuple[int, ...]:
    """Reads a comma list of numbers of pairs, as given to ``--looks``.

    Raises:
        ValueError: Not whole numbers, not increasing, the first below `FEWEST_PAIRS`, or so
            few in all that no slowdown could ever be found.
    """
    wanted = (
        f"give increasing numbers of pairs, the first at least {FEWEST_PAIRS}, such as "
        f"{','.join(map(str, DEFAULT_LOOKS))}"
    )
    try:
        looks = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"{text!r} is not a comma list of whole numbers; {wanted}") from None
    if any(later <= earlier for earlier, later in itertools.pairwise(looks)):
        raise ValueError(f"{text!r} does not increase from look to look; {wanted}")
    if looks[0] < FEWEST_PAIRS:
        raise ValueError(f"{text!r} starts with {looks[0]} pairs; {wanted}")
    needed = fewest_pairs(len(looks))
    if looks[-1] < needed:
        raise ValueError(
            f"{text!r} ends with {looks[-1]} pairs: with {len(looks)} look"
            f"{'s' if len(looks) > 1 else ''}, fewer than {needed} can never show a slowdown; "
            f"{wanted}"
        )
    return looks


def make_plan(
    *,
    a_python: str = sys.executable,
    a_checkout: str = ".",
    b_python: str = sys.executable,
    b_checkout: str = ".",
    looks: Sequence[int] = DEFAULT_LOOKS,
    tolerance: float = DEFAULT_TOLERANCE,
    margin: float = DEFAULT_MARGIN,
    options: Sequence[str] = (),
) -> Plan:
    """Resolves and checks what the user gave; starts nothing.

    Args:
        a_python: Path of A's interpreter, or its name on ``$PATH``.
        a_checkout: Folder of A's checkout of this repository.
        b_python: Likewise for B.
        b_checkout: Likewise for B.
        looks: See `parse_looks`.
        tolerance: See `cnnprec.compare.Limits`.
        margin: See `cnnprec.compare.Limits`.
        options: Options for pytest.

    Raises:
        AbError: There is no such interpreter or checkout, an option belongs to ab, or the
            limits make no sense.
    """
    try:
        Limits(tolerance, margin)
    except ValueError as error:
        raise AbError(f"--tolerance, --margin: {error}") from error
    for option in options:
        name = _refused_option(option)
        if name:
            raise AbError(
                f"{option} after --: {_REFUSED_OPTIONS[name]}, so {name} cannot be given to "
                "pytest here. Leave it out."
            )
    sides = {
        "A": Side(_find_python("--a-python", a_python), _find_checkout("--a-checkout", a_checkout)),
        "B": Side(_find_python("--b-python", b_python), _find_checkout("--b-checkout", b_checkout)),
    }
    return Plan(sides, tuple(looks), float(tolerance), float(margin), tuple(options))


def run(plan: Plan, folder: Path, say: Callable[[str], None], note: Callable[[str], None]) -> Exit:
    """Measures what is missing in the folder, judges at every look, and keeps the result.

    Args:
        plan: From `make_plan`.
        folder: Where everything is kept; made if it is missing.
        say: Takes a line of the result.
        note: Takes a line on how far the work is.

    Returns:
        The exit code of the verdict.

    Raises:
        AbError: The comparison cannot start or go on; the message has the remedy.
    """
    folder = folder.absolute()
    with _locked(folder) as lock, Children(lock) as children:
        begun = _same_plan(plan, folder)
        work = _Work(plan, folder, children, note, _kept_sessions(plan, folder) if begun else {})
        if work.done:
            note(f"kept from before: {_count(len(work.done), 'session')} in {folder}")
        try:
            return work.looks(say, begun=begun)
        except InterruptError as error:
            raise AbError(
                f"Interrupted. {_count(len(work.done), 'complete session')} kept in {folder}. "
                f"The same command goes on from there:\n  {plan.command(folder)}",
                Exit.INTERRUPTED,
            ) from error


class _Work:
    """The measurement as it proceeds."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        children: Children,
        note: Callable[[str], None],
        kept: Mapping[Job, SavedSession],
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._children = children
        self._note = note
        self._seconds: dict[str, list[float]] = {"A": [], "B": []}
        self.done: dict[Job, SavedSession] = {}
        for job in schedule(plan.looks[-1]):
            if job in kept:
                self._admit(job, kept[job])

    def looks(self, say: Callable[[str], None], *, begun: bool) -> Exit:
        """Measures from look to look until nothing is left open; returns the exit code."""
        checked = False
        comparison = None
        for number, pairs in enumerate(self._plan.looks, start=1):
            due = [job for job in schedule(pairs) if job not in self.done]
            if due and not checked:
                self._prepare(begun)
                checked = True
            for place, job in enumerate(due):
                self._children.check()
                took = self._measure(job)
                left = self._estimate(due[place + 1 :])
                self._note(
                    f"pair {job.pair} of {pairs} (look {number} of {len(self._plan.looks)}), "
                    f"{job.side}: {_duration(took)}"
                    + (f"; about {_duration(left)} to the look" if left else "")
                )
            comparison = self._look(number, pairs)
            for line in self._heading(number, pairs, comparison):
                say(line)
            for line in verdicts(comparison):
                say(line)
            if not _undecided(comparison):
                break
        assert comparison is not None  # noqa: S101 - a plan has a look
        say(f"kept in {self._folder / 'ab.md'} and {self._folder / 'ab.json'}")
        return EXIT_OF[comparison.verdict]

    def _prepare(self, begun: bool) -> None:
        """Checks all that can be checked before long work, and only then keeps the plan."""
        found = {name: _probe(name, self._plan, self._children) for name in self._plan.sides}
        if found["A"] != found["B"]:
            only = {
                name: ", ".join(sorted(found[name] - found[other])) or "none"
                for name, other in (("A", "B"), ("B", "A"))
            }
            raise AbError(
                f"A and B have different benchmarks. Only in A: {only['A']}. Only in B: "
                f"{only['B']}. Name those that both have, such as -- --precision single,half"
            )
        for name in ("sessions", "logs"):
            (self._folder / name).mkdir(exist_ok=True)
        for leftover in (self._folder / "sessions").glob("*.partial"):
            leftover.unlink()
        if not begun:
            text = msgspec.json.format(msgspec.json.encode(self._plan), indent=1).decode()
            _write_whole(self._folder / "plan.json", text + "\n")

    def _measure(self, job: Job) -> float:
        """Runs one process and keeps its session; returns the seconds that it took."""
        final = _session_path(self._folder, job)
        partial = final.with_name(final.name + ".partial")
        side = self._plan.sides[job.side]
        command = [
            *(side.python, "-m", "pytest", BENCHMARKS, f"--benchmark-json={partial}"),
            *(f"--order-seed={job.pair}", "-p", "no:cacheprovider", "-q", *self._plan.options),
        ]
        log_path = self._folder / "logs" / f"{job}.log"
        began = time.monotonic()
        # Appended: the output of a process that failed stays when the pair is measured again.
        with log_path.open("ab") as log:
            log.write(f"$ cd {shlex.quote(side.checkout)} && {shlex.join(command)}\n".encode())
            log.flush()
            start = log.tell()
            try:
                status = self._children.run(
                    command, cwd=side.checkout, env=_environment(side), output=log
                )
            except InterruptError:
                partial.unlink(missing_ok=True)
                raise
        took = time.monotonic() - began
        problem, session = "", None
        if status:
            partial.unlink(missing_ok=True)
            problem = f"ended with {_status(status)}"
        else:
            try:
                session = read_session(partial)
            except ValueError as error:
                problem = f"left no session that can be used: {error}"
            else:
                if session.failed:
                    problem = "reports that a benchmark failed"
        if session is None or problem:
            raise AbError(
                f"The process of pair {job.pair}, {job.side}, {problem}. Its last lines:\n"
                f"{_last_lines(log_path, start)}\nAll of it is in {log_path}. What is complete is "
                "kept; mend the cause, and the same command goes on from there:\n"
                f"  {self._plan.command(self._folder)}",
                Exit.INVALID,
            )
        partial.replace(final)
        self._seconds[job.side].append(took)
        self._admit(job, session)
        return took

    def _admit(self, job: Job, session: SavedSession) -> None:
        """Adds a complete session if it belongs to the same comparison as those before it."""
        for other, same_side in (
            (self._first_of(job.side), True),
            (self._first_of("B" if job.side == "A" else "A"), False),
        ):
            if other is not None:
                _check_comparable(other, self.done[other], job, session, same_side=same_side)
        self.done[job] = session

    def _first_of(self, side: str) -> Job | None:
        return min((job for job in self.done if job.side == side), default=None)

    def _estimate(self, jobs: Iterable[Job]) -> float:
        """Seconds that these processes will take, by those measured since the start."""
        every = [seconds for side in self._seconds.values() for seconds in side]
        means = {name: statistics.fmean(own or every) for name, own in self._seconds.items()}
        return sum(means[job.side] for job in jobs)

    def _look(self, number: int, pairs: int) -> Comparison:
        sessions = [
            (self.done[Job(pair, "A")], self.done[Job(pair, "B")]) for pair in range(1, pairs + 1)
        ]
        comparison = compare_pairs(
            [(_in_order(a.records), _in_order(b.records)) for a, b in sessions],
            tolerance=self._plan.tolerance,
            margin=self._plan.margin,
            looks=len(self._plan.looks),
        )
        _write_whole(
            self._folder / "ab.json",
            json.dumps(self._as_json(number, sessions, comparison), indent=1, allow_nan=False)
            + "\n",
        )
        _write_whole(
            self._folder / "ab.md", "\n".join(self._as_markdown(number, sessions, comparison))
        )
        return comparison

    def _heading(self, number: int, pairs: int, comparison: Comparison) -> list[str]:
        left = self._plan.looks[number:]
        decided = not _undecided(comparison)
        return [
            "",
            f"look {number} of {len(self._plan.looks)}, {pairs} pairs: "
            + (
                "decided"
                if decided
                else f"not decided, going on to {left[0]} pairs"
                if left
                else "not decided, and no look is left"
            ),
        ]

    def _as_json(
        self,
        number: int,
        sessions: Sequence[tuple[SavedSession, SavedSession]],
        comparison: Comparison,
    ) -> dict[str, Any]:
        plain: dict[str, Any] = _without_nan(
            {
                "version": LAYOUT_VERSION,
                "plan": msgspec.to_builtins(self._plan),
                "look": number,
                "verdict": comparison.verdict.value,
                "exit_code": int(EXIT_OF[comparison.verdict]),
                "changed": msgspec.to_builtins(comparison.changed),
                "judgements": msgspec.to_builtins(comparison.judgements),
                "pairs": [
                    {
                        "pair": pair,
                        "order": "AB" if pair % 2 else "BA",
                        "A": {name: _figures(record) for name, record in a.records.items()},
                        "B": {name: _figures(record) for name, record in b.records.items()},
                    }
                    for pair, (a, b) in enumerate(sessions, start=1)
                ],
            }
        )
        return plain

    def _as_markdown(
        self,
        number: int,
        sessions: Sequence[tuple[SavedSession, SavedSession]],
        comparison: Comparison,
    ) -> list[str]:
        rows = [
            _describe_side(name, self._plan.sides[name], session)
            for name, session in zip("AB", sessions[0], strict=True)
        ]
        return [
            "# cnnprec ab: B against A",
            "",
            *_markdown_table(
                ("", "interpreter", "checkout", "commit", "Python", "TensorFlow"), rows
            ),
            "",
            f"{len(sessions)} pairs of processes, look {number} of {len(self._plan.looks)} "
            f"(planned at {', '.join(map(str, self._plan.looks))} pairs). Ratios are B over A: "
            "above 1, B is slower or larger.",
            "",
            *verdicts_markdown(comparison),
            "",
            "Reproduce with",
            "",
            "```sh",
            self._plan.command(self._folder.with_name(self._folder.name + "-again")),
            "```",
            "",
        ]


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[int]:
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


def _same_plan(plan: Plan, folder: Path) -> bool:
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


def _kept_sessions(plan: Plan, folder: Path) -> dict[Job, SavedSession]:
    """The complete sessions of an earlier start."""
    kept = {}
    for job in schedule(plan.looks[-1]):
        path = _session_path(folder, job)
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


def _check_comparable(
    job: Job, session: SavedSession, new_job: Job, new: SavedSession, *, same_side: bool
) -> None:
    """Refuses a session that was measured under other conditions than an earlier one.

    Between the sides the stack may differ; that is what ab is for. Within a side nothing may.
    """
    if set(session.records) != set(new.records):
        raise AbError(
            f"INCOMPARABLE: session {job} measured {', '.join(sorted(session.records))}, session "
            f"{new_job} {', '.join(sorted(new.records))}. Name precisions that both have after --."
        )
    found: dict[Difference, None] = {}
    for name, record in session.records.items():
        every = differences(record, new.records[name])
        found.update(dict.fromkeys(every if same_side else refused(every)))
    if found:
        what = (
            f"side {job.side} changed during the measurement. Start again with another --out"
            if same_side
            else "A and B are not the same machine and workload. Only the stack may differ"
        )
        raise AbError(
            f"INCOMPARABLE: {what}. Sessions {job} -> {new_job}:\n"
            + "\n".join(f"  {difference}" for difference in found)
        )


_PROBE_MARK = "cnnprec-ab-probe "
_PROBE = f"import cnnprec; print({_PROBE_MARK!r} + cnnprec.__file__)"


def _probe(name: str, plan: Plan, children: Children) -> set[str]:
    """Tries a side without measuring; returns the names of its benchmarks."""
    side = plan.sides[name]
    status, output = _try(children, side, [side.python, "-c", _PROBE])
    at = next((x[len(_PROBE_MARK) :] for x in output if x.startswith(_PROBE_MARK)), None)
    if status or at is None:
        raise AbError(
            f"{name}: {side.python} cannot import cnnprec from {side.checkout} "
            f"({_status(status)}). Its last lines:\n{_shown(output)}"
        )
    if not Path(at).resolve().is_relative_to(Path(side.checkout).resolve() / "cnnprec"):
        raise AbError(
            f"{name}: {side.python} imports {at}, not the package of {side.checkout}. Give an "
            "interpreter that heeds PYTHONPATH."
        )
    # --verbosity comes last and overrules any -v or -q among the options: the names are read.
    status, output = _try(
        children,
        side,
        [
            *(side.python, "-m", "pytest", BENCHMARKS, "--order-seed=1", "-p", "no:cacheprovider"),
            *(*plan.options, "--collect-only", "--verbosity=-1"),
        ],
    )
    found = {line.strip() for line in output if re.match(r"\S+\.py::\S", line)}
    if status or not found:
        raise AbError(
            f"{name}: {side.python} collects no benchmarks in {side.checkout} "
            f"({_status(status)}). Its last lines:\n{_shown(output)}"
        )
    return found


def _try(children: Children, side: Side, command: Sequence[str]) -> tuple[int, list[str]]:
    with tempfile.TemporaryFile() as output:
        try:
            status = children.run(
                command,
                cwd=side.checkout,
                env=_environment(side),
                output=output,
                seconds=_PROBE_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise AbError(
                f"{shlex.join(command)} did not end within {_duration(_PROBE_SECONDS)}"
            ) from error
        output.seek(0)
        return status, output.read().decode(errors="replace").splitlines()


def _environment(side: Side) -> dict[str, str]:
    """The environment of a child: the checkout's package comes before any that is installed."""
    paths = [side.checkout, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _find_python(option: str, given: str) -> str:
    found = shutil.which(given)
    if found is None:
        raise AbError(
            f"{option} {given}: no such program. Give the path of a Python interpreter, such as "
            ".venv/bin/python"
        )
    # Links stay: through its link a virtual environment's interpreter finds its packages.
    return str(Path(found).absolute())


def _find_checkout(option: str, given: str) -> str:
    folder = Path(given)
    for part in (BENCHMARKS, "cnnprec/__init__.py"):
        if not (folder / part).is_file():
            raise AbError(
                f"{option} {given}: no checkout of this repository ({part} is missing). Give its "
                "top folder."
            )
    return str(folder.resolve())


def _refused_option(option: str) -> str | None:
    """The name of the option in `_REFUSED_OPTIONS` that this word gives, if any."""
    name = option.split("=", 1)[0]
    if re.fullmatch(r"-n\w+", name):
        name = "-n"
    return name if name in _REFUSED_OPTIONS else None


def _undecided(comparison: Comparison) -> bool:
    """Whether more pairs can change a verdict: they sharpen estimates and nothing else."""
    return any(
        judgement.verdict is Verdict.INCONCLUSIVE and judgement.estimate is not None
        for judgement in comparison.judgements
    )


def _figures(record: Record) -> dict[str, Any]:
    """What a session's verdicts rest on: the rounds, and the one figure of each size."""
    return {
        "figures": {size.field: figure(record, size.field) for size in sizes(record)},
        "rounds": [
            {
                "seed": entry.run.seed,
                "outcome": entry.run.outcome.value,
                "test_accuracy": entry.run.test_accuracy,
                "seconds": entry.seconds,
                "cpu_seconds": entry.cpu_seconds,
                "peak_memory_bytes": entry.peak_memory_bytes,
            }
            for entry in record.rounds
        ],
    }


def _describe_side(name: str, side: Side, session: SavedSession) -> tuple[str, ...]:
    machine = next(iter(session.records.values())).environment
    commit = machine.commit or machine.code
    return (
        name,
        f"`{side.python}`",
        f"`{side.checkout}`",
        commit,
        machine.python,
        machine.tensorflow,
    )


def _markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in (headings, *rows)]
    return [lines[0], "|---" * len(headings) + "|", *lines[1:]]


def _in_order(records: Mapping[str, Record]) -> dict[str, Record]:
    """The records in the order of the tables; a file has them in the order of the session."""
    order = list(PRECISIONS)
    return {name: records[name] for name in sorted(records, key=order.index)}


def _session_path(folder: Path, job: Job) -> Path:
    return folder / "sessions" / f"{job}.json"


def _write_whole(path: Path, text: str) -> None:
    """Writes a file so that it is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _without_nan(value: Any) -> Any:
    """JSON has no NaN and no infinity; they become strings, as in `cnnprec.record`."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _last_lines(log: Path, start: int) -> str:
    with log.open("rb") as file:
        file.seek(start)
        return _shown(file.read().decode(errors="replace").splitlines())


def _shown(lines: Sequence[str]) -> str:
    return "\n".join(f"  | {line}" for line in lines[-_LINES_SHOWN:]) or "  | (no output)"


def _status(status: int) -> str:
    if status >= 0:
        return f"exit code {status}"
    with contextlib.suppress(ValueError):
        return f"signal {signal.Signals(-status).name}"
    return f"signal {-status}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
