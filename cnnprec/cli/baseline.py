"""``cnnprec baseline``: saves sessions until a comparison with them finds what it has to."""

import argparse
import dataclasses
import math
import statistics
import subprocess
import time
from pathlib import Path

from cnnprec.ab.plan import AbError, Exit
from cnnprec.ab.processes import PYTEST, environment_in, indented, status_text
from cnnprec.cli.console import Commands, note, say
from cnnprec.records.read_sessions import read_sessions
from cnnprec.records.session_files import matching_files
from cnnprec.text import duration, parse_time, reported
from cnnprec.verdicts.baseline import select
from cnnprec.verdicts.detect import Reach, reach
from cnnprec.verdicts.limits import read_limits
from cnnprec.verdicts.verdict import Limits, parse_share

_TIME_IS_UP = 6


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "baseline",
        help="save sessions until a slowdown can be found",
        usage="cnnprec baseline [options] [-- PYTEST_OPTIONS]",
        description="Saves sessions of the benchmarks, each in a new process, until a comparison "
        "with them finds the slowdown given. What is saved already counts, so the same command "
        "goes on where it was stopped.",
        epilog="Exit codes: 0 it can be found, 3 not with --max-sessions, 4 bad options, 5 a "
        "session failed, 6 the next one would end after --time-budget, 130 interrupted. "
        "Example: cnnprec baseline --name before --time-budget 30min",
    )
    span = reported(parse_time)
    for name, parse, default, what in (
        ("detect", reported(parse_share), 0.1, "slowdown to find"),
        ("spread-over", span, 0.0, "spread the sessions over this time, such as 2h"),
        ("max-sessions", int, 30, "sessions at most, with those saved already"),
        ("time-budget", span, math.inf, "start no session that would end later"),
        ("name", str, "baseline", "what the sessions are saved as"),
    ):
        text = f"{what} (default: {default})"
        parser.add_argument(f"--{name}", type=parse, default=default, metavar="X", help=text)
    parser.set_defaults(run=_run)


def _run(asked: argparse.Namespace) -> int:
    if asked.spread_over > asked.time_budget:
        raise AbError("--spread-over is longer than --time-budget; shorten it")
    # Where pytest saves: this option of its own may say so.
    storage = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    storage.add_argument("--benchmark-storage", default="benchmarks/baselines")
    given, _ = storage.parse_known_args(asked.options)
    folder = Path(given.benchmark_storage.removeprefix("file://"))
    found = _reach(asked, folder)
    if found.missing == 0:
        # Whether what is saved is of the work and the software of now, pytest knows.
        compare = (f"--benchmark-compare={asked.name}", "--vary=code", f"--detect={asked.detect}")
        if _pytest(asked, *compare, "--require-verdict", "--collect-only").returncode:
            note("the sessions saved are of other work or software than now, or their code changed")
            found = dataclasses.replace(found, missing=1)
    began, took = time.monotonic(), list[float]()
    while found.missing != 0:
        left = min(found.missing or asked.max_sessions, asked.max_sessions - found.count)
        if left <= 0:
            say(f"stopped by --max-sessions {asked.max_sessions}: {found}")
            return Exit.INCONCLUSIVE
        passed = time.monotonic() - began
        usual = statistics.fmean(took) if took else 0.0
        # From the end of a session to the end of the next one.
        each = max(usual, (asked.spread_over - passed) / left) if took else 0.0
        if passed + each > asked.time_budget:
            say(f"stopped by --time-budget: {found}")
            return _TIME_IS_UP
        note(f"{found}; about {duration(left * each)} left" if took else str(found))
        time.sleep(each - usual)
        start, before = time.monotonic(), matching_files(folder, asked.name)
        done = _pytest(asked, f"--benchmark-save={asked.name}")
        if done.returncode or matching_files(folder, asked.name) == before:
            raise AbError(
                f"a session ended with {status_text(done.returncode)} and is no baseline in "
                f"{folder}. Its last lines:\n{indented(done.stdout.splitlines())}",
                Exit.USAGE if done.returncode == Exit.USAGE else Exit.INVALID,
            )
        took.append(time.monotonic() - start)
        found = _reach(asked, folder)
    say(str(found))
    return Exit.PASS


def _reach(asked: argparse.Namespace, folder: Path) -> Reach:
    """What those of the saved sessions find that can be compared with the newest one."""
    saved, _ = read_sessions(folder, asked.name)
    chosen = select(saved, saved[-1].records).sessions if saved else ()
    limits = read_limits(Path("pyproject.toml"), Limits())
    return reach([s.records for s in chosen], limits, asked.detect)


def _pytest(asked: argparse.Namespace, *own: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [*PYTEST, "benchmarks/", *asked.options, *own],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment_in(str(Path.cwd())),
    )
