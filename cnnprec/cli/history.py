"""``cnnprec history``: where the times of saved sessions changed."""

from __future__ import annotations

import argparse
from pathlib import Path

from cnnprec.ab.plan import Exit
from cnnprec.cli.compare import read_places
from cnnprec.cli.console import Commands, Parser, note, say
from cnnprec.precision.precisions import parse_precisions
from cnnprec.text import reported

_FOLDER = Path("benchmarks/baselines")


def add_history(commands: Commands[Parser]) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "history",
        help="find where saved sessions became slower",
        description="Puts all saved sessions of the newest one's machine and workload in a row "
        "and says since when each precision is slower or faster. A slow creep shows here though "
        "every session passes beside the one before. The exit code is 0 whatever is found, and 4 "
        "if there is nothing to read or an option is wrong.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "places",
        nargs="*",
        type=Path,
        default=[_FOLDER],
        metavar="FOLDER",
        help=f"saved sessions or folders of them (default: {_FOLDER})",
    )
    parser.add_argument(
        "--precision",
        type=reported(parse_precisions),
        default=(),
        metavar="NAMES",
        help="comma list (default: all of the newest session)",
    )
    parser.add_argument("--plot", metavar="FILE", help="draw it, such as history.png")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    try:
        sessions, skipped = read_places(arguments.places)
        # Imported here because the library that finds the changes takes a second to load.
        from cnnprec.reports.history import plot, sentences, table
        from cnnprec.verdicts.history import history

        found = history(sessions, [precision.name for precision in arguments.precision])
        if arguments.plot:
            plot(found).savefig(arguments.plot)
    except (ValueError, ImportError, OSError) as error:
        note(f"cnnprec history: {error}")
        return Exit.USAGE
    for skip in skipped:
        note(f"cnnprec history: left out {skip.path}: {skip.reason}")
    for line in [*table(found), "", *sentences(found)]:
        say(line)
    return Exit.PASS
