"""What command lines have in common: parsers whose own messages reach the user."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def reported(parse: Callable[[str], _T]) -> Callable[[str], _T]:
    """Lets argparse print the parser's own message, which it hides for any ValueError.

    Args:
        parse: Reads an option's text; raises ValueError with a message for people.
    """

    def parse_option(text: str) -> _T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse_option
