"""``cnnprec report``: RESULTS of saved sessions."""

from __future__ import annotations

import argparse
from pathlib import Path

from cnnprec.ab.plan import Exit
from cnnprec.cli.console import Commands, Parser, note, say, terminal_width
from cnnprec.records.read_sessions import read_session
from cnnprec.reports.results import results
from cnnprec.text import markdown_text, printable


def add_report(commands: Commands[Parser]) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "report",
        help="print RESULTS of saved sessions",
        description="Prints RESULTS of sessions saved with --benchmark-save or --benchmark-json. "
        "A file that cannot be read is named, and the exit code is then 4.",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a saved session")
    text = "as Markdown: each file a heading and a block"
    parser.add_argument("--markdown", action="store_true", help=text)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    code = Exit.PASS
    width = None if arguments.markdown else terminal_width()
    for place, path in enumerate(arguments.files):
        try:
            lines = results(read_session(path).records.values(), width)
        except ValueError as error:
            note(f"cnnprec report: {error}")
            code = Exit.USAGE
            continue
        if place:
            say("")
        if arguments.markdown:
            lines = [f"## {markdown_text(path.name)}", "", "```", *lines, "```"]
        elif len(arguments.files) > 1:
            lines = [f"{printable(str(path))}:", "", *lines]
        for line in lines:
            say(line)
    return code
