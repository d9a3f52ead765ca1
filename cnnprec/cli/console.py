"""What the subcommands share: the parser of arguments, and lines for the two outputs."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from typing import NoReturn

from cnnprec.ab.plan import Exit
from cnnprec.text import coloured

Commands = argparse._SubParsersAction
"""Where a subcommand adds its own parser."""


class Parser(argparse.ArgumentParser):
    """Ends with pytest's code for a usage error; argparse's own is 2, pytest's Ctrl-C."""

    def error(self, message: str) -> NoReturn:
        """Prints the message and leaves."""
        self.exit(
            Exit.USAGE,
            f"{self.prog}: error: {message}\nSee {self.prog} --help for what it takes.\n",
        )


def terminal_width() -> int | None:
    """Columns of the terminal; None where the result goes into a file."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return shutil.get_terminal_size().columns if known else None


def say(line: str) -> None:
    """Writes a line of the result, in colour on a terminal unless ``NO_COLOR`` is set."""
    in_colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    sys.stdout.write((coloured(line) if in_colour else line) + "\n")
    sys.stdout.flush()


def note(line: str) -> None:
    """Writes a line about the work, beside the result."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def drop_output() -> None:
    """Leaves the rest out where the reader has seen enough; Python would complain at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
