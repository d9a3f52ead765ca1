"""Paired A/B: two interpreters or two checkouts, measured by whole processes in turns.

Pair 1 runs A then B, pair 2 B then A, and so on, in the same order of benchmarks. The pairs are
judged at looks planned beforehand, between which the error of 5 % is split evenly (Bonferroni).
Everything lies in one folder::

    plan.json             what is compared; a second start must ask for the same
    sessions/0001-A.json  one session, complete: its process ended with code 0
    logs/0001-A.log       all that its process printed
    ab.md, ab.json        the result, written again at every look
"""

from __future__ import annotations

import json
import shlex
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from cnnprec.ab.folder import (
    check_place,
    kept_sessions,
    locked,
    partial_path,
    same_plan,
    session_path,
)
from cnnprec.ab.plan import BENCHMARKS, EXIT_OF, AbError, Exit, Job, Plan, schedule
from cnnprec.ab.processes import (
    Children,
    InterruptError,
    last_lines,
    probe_side,
    side_environment,
    status_text,
)
from cnnprec.ab.result import Pairs, as_json, as_markdown
from cnnprec.precision.precisions import rank
from cnnprec.records.read_sessions import SavedSession, read_session
from cnnprec.records.record import Record
from cnnprec.records.write_whole import write_whole
from cnnprec.reports.verdicts import verdicts
from cnnprec.text import count_of, duration
from cnnprec.verdicts.comparability import Difference, differences, refused
from cnnprec.verdicts.compare import compare_pairs
from cnnprec.verdicts.verdict import Comparison, Verdict


def run(
    plan: Plan,
    folder: Path,
    say: Callable[[str], None],
    note: Callable[[str], None],
    session_seconds: float | None = None,
) -> Exit:
    """Measures what is missing in the folder, judges at every look, and keeps the result.

    Args:
        plan: From `make_plan`.
        folder: Where everything is kept; made if it is missing.
        say: Takes a line of the result.
        note: Takes a line on how far the work is.
        session_seconds: After which a session is ended; None for never.

    Returns:
        The exit code of the verdict.

    Raises:
        AbError: The comparison cannot start or go on; the message has the remedy.
    """
    folder = folder.absolute()
    with locked(folder) as lock, Children(lock) as children:
        begun = same_plan(plan, folder)
        kept = kept_sessions(plan, folder) if begun else {}
        work = _Work(plan, folder, children, note, kept, session_seconds)
        if work.done:
            note(f"kept from before: {count_of(len(work.done), 'session')} in {folder}")
        try:
            return work.looks(say, begun=begun)
        except InterruptError as error:
            raise AbError(
                f"Interrupted. {count_of(len(work.done), 'complete session')} kept in {folder}. "
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
        session_seconds: float | None = None,
    ) -> None:
        self._session_seconds = session_seconds
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
                    f"{job.side}: {duration(took)}"
                    + (f"; about {duration(left)} to the look" if left else "")
                )
            sessions = [
                (self.done[Job(p, "A")], self.done[Job(p, "B")]) for p in range(1, pairs + 1)
            ]
            comparison = self._judge(sessions)
            for line in self._heading(number, pairs, comparison):
                say(line)
            for line in verdicts(comparison):
                say(line)
            self._write(number, sessions, comparison)
            if not _undecided(comparison):
                break
        assert comparison is not None  # noqa: S101 - a plan has a look
        say(f"kept in {self._folder / 'ab.md'} and {self._folder / 'ab.json'}")
        return EXIT_OF[comparison.verdict]

    def _prepare(self, begun: bool) -> None:
        """Checks all that can be checked before long work, and only then keeps the plan."""
        found = {name: probe_side(name, self._plan, self._children) for name in self._plan.sides}
        if found["A"] != found["B"]:
            only = {
                name: ", ".join(sorted(found[name] - found[other])) or "none"
                for name, other in (("A", "B"), ("B", "A"))
            }
            raise AbError(
                f"A and B have different benchmarks. Only in A: {only['A']}. Only in B: "
                f"{only['B']}. Name those that both have, such as -- --precision single,half"
            )
        if not begun:
            text = msgspec.json.format(msgspec.json.encode(self._plan), indent=1).decode()
            write_whole(self._folder / "plan.json", text + "\n")
        for name in ("sessions", "logs"):
            (self._folder / name).mkdir(exist_ok=True)
        for job in schedule(self._plan.looks[-1]):
            partial_path(self._folder, job).unlink(missing_ok=True)

    def _measure(self, job: Job) -> float:
        """Runs one process and keeps its session; returns the seconds that it took."""
        final, partial = session_path(self._folder, job), partial_path(self._folder, job)
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
            problem = ""
            try:
                status = self._children.run(
                    command,
                    cwd=side.checkout,
                    env=side_environment(side),
                    output=log,
                    seconds=self._session_seconds,
                )
            except InterruptError:
                partial.unlink(missing_ok=True)
                raise
            except subprocess.TimeoutExpired as error:
                status = -signal.SIGKILL
                problem = f"was ended after --session-timeout {error.timeout:g} s"
        took = time.monotonic() - began
        session = None
        if status:
            partial.unlink(missing_ok=True)
            problem = problem or f"ended with {status_text(status)}"
        else:
            try:
                session = read_session(partial)
            except ValueError as error:
                problem = f"left no session that can be used: {error}"
            else:
                check_place(job, session)
                if session.failed:
                    problem = "reports that a benchmark failed"
        if session is None or problem:
            raise AbError(
                f"The process of pair {job.pair}, {job.side}, {problem}. Its last lines:\n"
                f"{last_lines(log_path, start)}\nAll of it is in {log_path}. What is complete is "
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

    def _judge(self, sessions: Pairs) -> Comparison:
        return compare_pairs(
            [(_in_order(a.records), _in_order(b.records)) for a, b in sessions],
            tolerance=self._plan.tolerance,
            margin=self._plan.margin,
            looks=len(self._plan.looks),
        )

    def _write(self, number: int, sessions: Pairs, comparison: Comparison) -> None:
        result = as_json(self._plan, number, sessions, comparison)
        text = json.dumps(result, indent=1, allow_nan=False) + "\n"
        write_whole(self._folder / "ab.json", text)
        page = as_markdown(self._plan, number, sessions, comparison, self._folder)
        write_whole(self._folder / "ab.md", "\n".join(page))

    def _heading(self, number: int, pairs: int, comparison: Comparison) -> list[str]:
        looks = self._plan.looks
        state = "decided"
        if _undecided(comparison):
            more = number < len(looks)
            then = f"going on to {looks[number]} pairs" if more else "and no look is left"
            state = f"not decided, {then}"
        return ["", f"look {number} of {len(looks)}, {pairs} pairs: {state}"]


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


def _undecided(comparison: Comparison) -> bool:
    """Whether more pairs can change a verdict: they sharpen estimates and nothing else."""
    return any(
        judgement.verdict is Verdict.INCONCLUSIVE and judgement.estimate is not None
        for judgement in comparison.judgements
    )


def _in_order(records: Mapping[str, Record]) -> dict[str, Record]:
    """The records in the order of the tables; a file has them in the order of the session."""
    return {name: records[name] for name in sorted(records, key=rank)}
