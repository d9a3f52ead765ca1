"""``cnnprec history``: where the times of saved sessions changed."""

import argparse
from pathlib import Path

from cnnprec.ab.plan import Exit
from cnnprec.cli.compare import read_places
from cnnprec.cli.console import Commands, note, say
from cnnprec.reports.baseline import dated_ahead
from cnnprec.text import printable


def add_history(commands: Commands) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "history",
        help="find where saved sessions became slower",
        description="Says since when each precision is slower or faster in all saved sessions of "
        "the newest one's machine and workload. The exit code is 0 whatever is found, and 4 if "
        "there is nothing to read.",
        epilog="Example: cnnprec history --plot history.png",
    )
    default = Path("benchmarks/baselines")
    text = f"saved sessions or folders of them (default: {default})"
    parser.add_argument("folder", nargs="*", type=Path, default=[default], help=text)
    parser.add_argument("--plot", metavar="FILE", help="draw it, such as history.png")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    # Imported here because the library that finds the changes takes a second to load.
    from cnnprec.reports.history import plot, sentences, table
    from cnnprec.verdicts.history import history

    try:
        sessions, skipped = read_places(arguments.folder)
        found = history(sessions, sessions[-1].records)
        if arguments.plot:
            plot(found).savefig(arguments.plot)
    except (ValueError, ImportError, OSError) as error:
        note(f"cnnprec history: {error}")
        return Exit.USAGE
    for skip in skipped:
        note(f"cnnprec history: left out {printable(f'{skip.path}: {skip.reason}')}")
    for line in dated_ahead(sessions):
        note(f"cnnprec history: {line}")
    for line in [*table(found), "", *sentences(found)]:
        say(line)
    return Exit.PASS
