"""Words and tables: what every page, table and message of the suite is written with."""

import argparse
import difflib
import enum
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

_T = TypeVar("_T")


class Word(str, enum.Enum):
    """One of some words, which is shown as the word itself."""

    def __str__(self) -> str:
        return str(self.value)


def printable(text: str) -> str:
    r"""The text on one line, with escapes such as ``\x1b`` for what is no printable character.

    For text from files: it could move the cursor, begin a line of its own or reverse the order.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


_MARKS = str.maketrans({**{mark: f"\\{mark}" for mark in "\\`*[]|"}, "<": "&lt;"})


def markdown_text(text: str) -> str:
    """The text as Markdown that shows it: no mark of its own, no HTML, no cell's end."""
    return printable(text).translate(_MARKS)


def aligned(rows: Sequence[Sequence[str]], *, left: int = 2) -> list[str]:
    """The rows as columns, two spaces apart; the first ones, of words, are set to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def fitted(rows: Sequence[Sequence[str]], width: int | None, drop: Iterable[str] = ()) -> list[str]:
    """As `aligned`, without the columns that do not fit, in the order of the headings to drop."""
    lines = aligned(rows)
    for heading in drop:
        if width is None or max(map(len, lines)) <= width:
            break
        if heading in rows[0]:
            place = rows[0].index(heading)
            rows = [[*row[:place], *row[place + 1 :]] for row in rows]
            lines = aligned(rows)
    return lines


def wrapped(line: str, width: int | None) -> list[str]:
    """The line, or as many as a terminal of this width needs, broken between words."""
    if width is None or len(line) <= width:
        return [line]
    return textwrap.wrap(
        line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def coloured(line: str) -> str:
    """The line with its outcomes and verdicts in green, red or yellow, for a terminal."""
    for code, words in _COLOURS.items():
        line = re.sub(rf"\b({words})\b", f"\033[{code}m\\1\033[0m", line)
    return line


_COLOURS = {
    32: "PASS|ROLL OUT|trained",
    31: "FAIL|INVALID|ROLL BACK|diverged|frozen|not_learning|DISTURBED",
    33: "INCONCLUSIVE|INCOMPARABLE|NO_BASELINE|MEASURE MORE|NOTICE|provisional",
}


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The rows as a table in Markdown: lines without line ends."""
    lines = [f"| {' | '.join(row)} |" for row in (headings, *rows)]
    return [lines[0], "|---" * len(headings) + "|", *lines[1:]]


def duration(seconds: float) -> str:
    """A time in a fitting unit, such as ``"42 s"``, ``"2 min 05 s"`` or ``"3 h 20 min"``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def parse_time(text: str) -> float:
    """A time such as ``90s``, ``10m``, ``30min`` or ``2h``, in seconds; else a ValueError."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)(s|m|min|h)", text)
    if found is None or not float(found[1]):
        raise ValueError(f"{text!r} is not a time above 0: give one such as 90s, 30min or 2h")
    return float(found[1]) * {"s": 1, "h": 3600}.get(found[2], 60)


def count_of(number: int, what: str) -> str:
    """A number of things, such as ``"1 session"`` or ``"2 sessions"``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question for a misspelt name, to follow a sentence; empty if no known name is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def reported(parse: Callable[[str], _T]) -> Callable[[str], _T]:
    """Lets argparse print the parser's own message, which it hides for any ValueError."""

    def parse_option(text: str) -> _T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse_option


def find_name(word: str, known: Iterable[str], aliases: Mapping[str, str], what: str) -> str:
    """One of the known names; case and ``-``/``_`` do not matter, a ValueError lists them."""
    key = word.strip().lower().replace("-", "_")
    names, key = list(known), aliases.get(key, key)
    if key in names:
        return key
    problem = f"unknown {what} {word.strip()!r}." if key else f"empty name of a {what}."
    hint = did_you_mean(key, [*names, *aliases])
    raise ValueError(f"{problem}{hint} Known names: {', '.join(names)}.")


def comma_list(text: str, parse: Callable[[str], _T]) -> tuple[_T, ...]:
    """The parts of a comma list, each once; a ValueError has every part that is refused."""
    found, problems = dict[_T, None](), list[str]()
    for part in text.split(","):
        try:
            found[parse(part)] = None
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError(" ".join(problems))
    return tuple(found)
