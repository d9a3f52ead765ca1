"""``cnnprec report``: RESULTS of saved sessions, and a page on the newest of them."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from cnnprec.ab.plan import Exit
from cnnprec.cli.compare import read_places
from cnnprec.cli.console import Commands, note, say, terminal_width
from cnnprec.records.read_sessions import read_session
from cnnprec.reports.page import PAGE, Report, clear, write_report
from cnnprec.reports.results import results
from cnnprec.text import markdown_text, printable
from cnnprec.verdicts.history import history
from cnnprec.verdicts.judge_saved import judge_saved
from cnnprec.verdicts.limits import read_limits
from cnnprec.verdicts.verdict import Limits


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "report",
        help="print RESULTS of saved sessions",
        description="Prints RESULTS of sessions saved with --benchmark-save or --benchmark-json. "
        "A file that cannot be read is named, and the exit code is then 4.",
        epilog="Example: cnnprec report --html out benchmarks/baselines/*/*.json",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a saved session")
    either = parser.add_mutually_exclusive_group()
    text = "as Markdown: each file a heading and a block"
    either.add_argument("--markdown", action="store_true", help=text)
    text = "write DIR/report.html and DIR/report.md on the newest session, judged by the others"
    either.add_argument("--html", type=Path, metavar="DIR", help=text)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.html is not None:
        return _write(arguments.html, arguments.files)
    code = Exit.PASS
    width = None if arguments.markdown else terminal_width()
    for place, path in enumerate(arguments.files):
        try:
            lines = results(read_session(path).records.values(), width)
        except ValueError as error:
            note(f"cnnprec report: {error}")
            code = Exit.USAGE
            continue
        if arguments.markdown:
            lines = [f"## {markdown_text(path.name)}", "", "```", *lines, "```"]
        elif len(arguments.files) > 1:
            lines = [f"{printable(str(path))}:", "", *lines]
        for line in ["", *lines] if place else lines:
            say(line)
    return code


def _write(folder: Path, files: Sequence[Path]) -> int:
    clear(folder)
    sessions, skipped = read_places(files)
    *others, session = sessions
    comparison = found = None
    if others:
        limits = read_limits(Path("pyproject.toml"), Limits())
        _, comparison = judge_saved(others, session, limits=limits)
        found = history(sessions, session.records)
    records = tuple(session.records.values())
    write_report(folder, Report(records, comparison, found, session.saved_at))
    for skip in skipped:
        note(f"cnnprec report: left out {printable(f'{skip.path}: {skip.reason}')}")
    say(str(folder / PAGE))
    return Exit.PASS
