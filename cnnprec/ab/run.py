"""Paired A/B: two interpreters or two checkouts, measured by whole processes in turns.

Pair 1 runs A then B, pair 2 B then A, and so on. The pairs are judged at looks planned beforehand,
which share the error of 5 % evenly (Bonferroni). Everything lies in one folder::

    plan.txt              what is compared; a second start must ask for the same
    sessions/0001-A.json  one session, complete: its process ended with code 0
    logs/0001-A.log       all that its process printed
    ab.md, ab.json        the result, written again at every look
"""

import dataclasses
import shlex
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from cnnprec.ab.folder import PLAN, kept_sessions, locked, same_plan, session_path
from cnnprec.ab.plan import BENCHMARKS, EXIT_OF, AbError, Exit, Job, Plan, schedule
from cnnprec.ab.processes import Children, InterruptError, indented, probe_side, status_text
from cnnprec.records.read_sessions import SavedSession, read_session
from cnnprec.records.write_whole import write_whole
from cnnprec.reports.github import tell_github
from cnnprec.reports.verdict_json import write_verdict
from cnnprec.reports.verdicts import verdicts, verdicts_markdown
from cnnprec.text import count_of, duration, markdown_table, markdown_text, printable
from cnnprec.verdicts.baseline import unlike
from cnnprec.verdicts.compare import compare_pairs
from cnnprec.verdicts.verdict import Comparison, Verdict


def run(
    plan: Plan,
    folder: Path,
    say: Callable[[str], None],
    note: Callable[[str], None],
    session_seconds: float | None = None,
    width: int | None = None,
) -> Exit:
    """Measures what is missing in the folder, judges at every look, and keeps the result.

    `say` takes the lines of the result, `note` those on how far the work is. A session is ended
    after `session_seconds`. AbError where the comparison cannot start or go on.
    """
    folder = folder.absolute()
    with locked(folder) as lock, Children(lock) as children:
        begun = same_plan(plan, folder)
        kept = kept_sessions(plan, folder) if begun else {}
        work = _Work(plan, folder, children, note, session_seconds, width)
        for job, session in kept.items():
            work.admit(job, session)
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


@dataclasses.dataclass
class _Work:
    """The measurement as it proceeds."""

    plan: Plan
    folder: Path
    children: Children
    note: Callable[[str], None]
    session_seconds: float | None
    width: int | None
    done: dict[Job, SavedSession] = dataclasses.field(default_factory=dict)
    seconds: list[float] = dataclasses.field(default_factory=list)

    def looks(self, say: Callable[[str], None], *, begun: bool) -> Exit:
        """Measures from look to look until nothing is left open; returns the exit code."""
        looks, checked = self.plan.looks, False
        for number, pairs in enumerate(looks, start=1):
            due = [job for job in schedule(pairs) if job not in self.done]
            if due and not checked:
                self._prepare(begun)
                checked = True
            for place, job in enumerate(due):
                self.children.check()
                self._measure(job)
                left = statistics.fmean(self.seconds) * len(due[place + 1 :])
                then = f"; about {duration(left)} to the look" if left else ""
                where = f"pair {job.pair} of {pairs} (look {number} of {len(looks)}), {job.side}"
                self.note(f"{where}: {duration(self.seconds[-1])}{then}")
            numbers = range(1, pairs + 1)
            comparison = compare_pairs(
                [(self.done[Job(p, "A")].records, self.done[Job(p, "B")].records) for p in numbers],
                tolerance=self.plan.tolerance,
                margin=self.plan.margin,
                looks=len(looks),
            )
            # More pairs sharpen estimates and nothing else.
            going_on = any(
                judgement.verdict is Verdict.INCONCLUSIVE and judgement.estimate is not None
                for judgement in comparison.judgements
            )
            later = [f"going on to {n} pairs" for n in looks[number:]] or ["and no look is left"]
            state = f"not decided, {later[0]}" if going_on else "decided"
            heading = f"look {number} of {len(looks)}, {pairs} pairs: {state}"
            for line in ("", heading, *verdicts(comparison, self.width)):
                say(line)
            paths = [session_path(self.folder, job) for job in sorted(schedule(pairs))]
            write_verdict(self.folder / "ab.json", comparison, paths, None)
            page = self._page(number, pairs, comparison)
            write_whole(self.folder / "ab.md", "\n".join(page))
            if not going_on:
                break
        tell_github(comparison, page, say)
        say(f"kept in {self.folder / 'ab.md'} and {self.folder / 'ab.json'}")
        return EXIT_OF[comparison.verdict]

    def _page(self, look: int, pairs: int, comparison: Comparison) -> list[str]:
        """The result as Markdown: sides, verdicts, and the command for it in a new folder."""
        rows = []
        for name, side in self.plan.sides.items():
            machine = next(iter(self.done[Job(1, name)].records.values())).environment
            described = (machine.commit or machine.code, machine.python, machine.tensorflow)
            paths = (f"`{printable(path)}`" for path in (side.python, side.checkout))
            rows.append((name, *paths, *map(markdown_text, described)))
        looks = self.plan.looks
        headings = ("", "interpreter", "checkout", "commit", "Python", "TensorFlow")
        return [
            *("# cnnprec ab: B against A", ""),
            *(*markdown_table(headings, rows), ""),
            f"{pairs} pairs of processes, look {look} of {len(looks)} (planned at "
            f"{', '.join(map(str, looks))} pairs). Ratios are B over A: above 1, B is slower or "
            "larger.",
            *("", *verdicts_markdown(comparison), ""),
            *("Reproduce with", "", "```sh"),
            self.plan.command(self.folder.with_name(self.folder.name + "-again")),
            *("```", ""),
        ]

    def _prepare(self, begun: bool) -> None:
        """Checks all that can be checked before long work, and only then keeps the plan."""
        found = {name: probe_side(name, self.plan, self.children) for name in self.plan.sides}
        if found["A"] != found["B"]:
            only_a = ", ".join(sorted(found["A"] - found["B"])) or "none"
            only_b = ", ".join(sorted(found["B"] - found["A"])) or "none"
            raise AbError(
                f"A and B have different benchmarks. Only in A: {only_a}. Only in B: {only_b}. "
                "Name those that both have, such as -- --precision single,half"
            )
        if not begun:
            write_whole(self.folder / PLAN, f"{self.plan}\n")
        for name in ("sessions", "logs"):
            (self.folder / name).mkdir(exist_ok=True)
        for job in schedule(self.plan.looks[-1]):
            session_path(self.folder, job, ".json.partial").unlink(missing_ok=True)

    def _measure(self, job: Job) -> None:
        """Runs one process and keeps its session, and the seconds that it took."""
        partial = session_path(self.folder, job, ".json.partial")
        side = self.plan.sides[job.side]
        command = [
            *(side.python, "-m", "pytest", BENCHMARKS, f"--benchmark-json={partial}"),
            *(f"--order-seed={job.pair}", "-p", "no:cacheprovider", "-q", *self.plan.options),
        ]
        log_path = self.folder / "logs" / f"{job}.log"
        began = time.monotonic()
        try:
            # Appended: the output of a process that failed stays when the pair is measured again.
            with log_path.open("ab") as log:
                log.write(f"$ cd {shlex.quote(side.checkout)} && {shlex.join(command)}\n".encode())
                log.flush()
                start = log.tell()
                status = self.children.run(command, side.checkout, log, self.session_seconds)
            session = None if status else read_session(partial)
            if session is None:
                problem = f"ended with {status_text(status)}"
            elif session.failed:
                problem = "reports that a benchmark failed"
            else:
                partial.replace(session_path(self.folder, job))
                self.seconds.append(time.monotonic() - began)
                self.admit(job, session)
                return
        except subprocess.TimeoutExpired as error:
            problem = f"was ended after --session-timeout {error.timeout:g} s"
        except ValueError as error:
            problem = f"left no session that can be used: {error}"
        finally:
            partial.unlink(missing_ok=True)
        lines = log_path.read_bytes()[start:].decode(errors="replace").splitlines()
        raise AbError(
            f"The process of pair {job.pair}, {job.side}, {problem}. Its last lines:\n"
            f"{indented(lines)}\nAll of it is in {log_path}. What is complete is "
            "kept; mend the cause, and the same command goes on from there:\n"
            f"  {self.plan.command(self.folder)}",
            Exit.INVALID,
        )

    def admit(self, job: Job, new: SavedSession) -> None:
        """Adds a complete session if it belongs to the same comparison as those before it.

        The stack may differ between the sides.
        """
        for side in (job.side, "B" if job.side == "A" else "A"):
            first = min((other for other in self.done if other.side == side), default=None)
            if first is None:
                continue
            old, same_side = self.done[first], side == job.side
            if set(old.records) != set(new.records):
                raise AbError(
                    f"INCOMPARABLE: session {first} measured {', '.join(sorted(old.records))}, "
                    f"session {job} {', '.join(sorted(new.records))}. Name precisions that both "
                    "have after --."
                )
            if found := unlike(old, new.records, vary=frozenset() if same_side else None):
                what = "A and B are not the same machine and workload. Only the stack may differ"
                if same_side:
                    remedy = "Start again with another --out"
                    what = f"side {side} changed during the measurement. {remedy}"
                listed = "".join(f"\n  {difference}" for difference in found)
                raise AbError(f"INCOMPARABLE: {what}. Sessions {first} -> {job}:{listed}")
        self.done[job] = new
