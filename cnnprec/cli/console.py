"""What the subcommands share: the parser of arguments, and lines for the two outputs."""

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from cnnprec.ab.plan import Exit
from cnnprec.text import coloured, reported
from cnnprec.verdicts.verdict import DEFAULT_MARGIN, DEFAULT_TOLERANCE, parse_share

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # where a subcommand adds its own parser


class Parser(argparse.ArgumentParser):
    """Ends with pytest's code for a usage error; argparse's own is 2, pytest's Ctrl-C."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Prints the message and leaves."""
        text = f"{self.prog}: error: {message}\nSee {self.prog} --help for what it takes.\n"
        self.exit(Exit.USAGE, text)


def add_limits(parser: Parser) -> None:
    """Adds ``--tolerance`` and ``--margin``."""
    share = reported(parse_share)
    for name, default, what in (
        ("--tolerance", DEFAULT_TOLERANCE, "slowdown that is no failure, such as 3%% or 0.03"),
        ("--margin", DEFAULT_MARGIN, "slowdown that a PASS excludes"),
    ):
        text = f"{what} (default: {default:g})"
        parser.add_argument(name, type=share, default=default, metavar="SHARE", help=text)


def add_judging(parser: Parser) -> None:
    """Adds what a judge of saved sessions takes."""
    add_limits(parser)
    text = "INCONCLUSIVE counts as a failure"
    parser.add_argument("--require-verdict", action="store_true", help=text)
    text = "write the verdicts with all figures to FILE"
    parser.add_argument("--verdict-json", type=Path, metavar="FILE", help=text)


def parse_svg(text: str) -> Path:
    """The name of a file for a picture; ValueError unless it ends in ``.svg``."""
    if not text.endswith(".svg"):
        raise ValueError(f"{text}: end its name in .svg")
    return Path(text)


def terminal_width() -> int | None:
    """Columns of the terminal; None where the result goes into a file."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return shutil.get_terminal_size().columns if known else None


def say(line: str) -> None:
    """Writes a line of the result, in colour on a terminal unless ``NO_COLOR`` is set."""
    in_colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print(coloured(line) if in_colour else line, flush=True)  # noqa: T201


def note(line: str) -> None:
    """Writes a line about the work, beside the result."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def drop_output() -> None:
    """Leaves the rest out where the reader has seen enough; Python would complain at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
