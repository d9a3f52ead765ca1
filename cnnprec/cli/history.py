"""``cnnprec history``: where the times of saved sessions changed."""

import argparse
from pathlib import Path

from cnnprec.cli.compare import read_places
from cnnprec.cli.console import Commands, note, parse_svg, say
from cnnprec.records.write_whole import write_whole
from cnnprec.reports.baseline import dated_ahead
from cnnprec.reports.figures import levels
from cnnprec.reports.history import sentences, table
from cnnprec.reports.svg import file
from cnnprec.text import printable, reported
from cnnprec.verdicts.history import history


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "history",
        help="find where saved sessions became slower",
        description="Says since when each precision is slower or faster in all saved sessions of "
        "the newest one's machine and workload. The exit code is 0 whatever is found, and 4 if "
        "there is nothing to read.",
        epilog="Example: cnnprec history --plot history.svg",
    )
    default = Path("benchmarks/baselines")
    text = f"saved sessions or folders of them (default: {default})"
    parser.add_argument("folder", nargs="*", type=Path, default=[default], help=text)
    text = "draw it into this file, such as history.svg"
    parser.add_argument("--plot", type=reported(parse_svg), metavar="FILE", help=text)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    sessions, skipped = read_places(arguments.folder)
    found = history(sessions, sessions[-1].records)
    if arguments.plot is not None:
        write_whole(arguments.plot, file((one.title, one.svg) for one in levels(found)))
    for skip in skipped:
        note(f"cnnprec history: left out {printable(f'{skip.path}: {skip.reason}')}")
    for line in dated_ahead(sessions):
        note(f"cnnprec history: {line}")
    for line in [*table(found), "", *sentences(found)]:
        say(line)
