"""What ``cnnprec ab`` compares and how: sides, looks and the order of the processes."""

import dataclasses
import enum
import itertools
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cnnprec.verdicts.compare import fewest_pairs
from cnnprec.verdicts.verdict import DEFAULT_MARGIN, DEFAULT_TOLERANCE, Limits, Verdict

DEFAULT_LOOKS = (6, 12, 24)  # pairs after which the figures are looked at
FEWEST_PAIRS = 3  # that the first look needs: two say next to nothing about the noise
BENCHMARKS = "benchmarks/test_training.py"  # what both sides run, relative to the checkout


class Exit(enum.IntEnum):
    """The exit codes of ``cnnprec ab``."""

    PASS = 0
    FAIL = 1
    INCONCLUSIVE = 3
    USAGE = 4
    INVALID = 5
    INTERRUPTED = 130


EXIT_OF: Mapping[Verdict, Exit] = {
    Verdict.PASS: Exit.PASS,
    Verdict.FAIL: Exit.FAIL,
    Verdict.INCONCLUSIVE: Exit.INCONCLUSIVE,
    Verdict.NO_BASELINE: Exit.INCONCLUSIVE,
    Verdict.INCOMPARABLE: Exit.USAGE,
    Verdict.INVALID: Exit.INVALID,
}

# Options that would take a session out of ab's hands, and the reason to refuse them.
_REFUSED_OPTIONS: Mapping[str, str] = {
    name: why
    for why, names in (
        ("ab keeps every session itself", "--benchmark-json --benchmark-save --benchmark-autosave"),
        ("ab gives both sides of a pair the same", "--order-seed"),
        ("ab compares A with B", "--benchmark-compare --benchmark-compare-fail"),
        ("ab needs the times", "--benchmark-disable --benchmark-skip --collect-only --co"),
        ("benchmarks need the machine for themselves", "-n --numprocesses --dist"),
    )
    for name in names.split()
}


class AbError(Exception):
    """Why the comparison stopped, for people; `code` is the exit code it stops with."""

    def __init__(self, message: str, code: Exit = Exit.USAGE) -> None:
        super().__init__(message)
        self.code = code


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two: an interpreter and the checkout that it runs. Both paths absolute."""

    python: str
    checkout: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is compared and how; nothing of it may change once a session is measured."""

    sides: dict[str, Side]  # A and B
    looks: tuple[int, ...]  # increasing numbers of pairs
    tolerance: float
    margin: float
    options: tuple[str, ...]  # pytest's, the same on both sides

    def __str__(self) -> str:
        """The options of ``cnnprec ab`` that ask for this plan, for a shell."""
        a, b = self.sides["A"], self.sides["B"]
        words = ["--a-python", a.python, "--a-checkout", a.checkout]
        words += ["--b-python", b.python, "--b-checkout", b.checkout]
        words += ["--looks", ",".join(map(str, self.looks))]
        words += ["--tolerance", str(self.tolerance), "--margin", str(self.margin)]
        words += ["--aa"] if a == b else []
        words += ["--", *self.options] if self.options else []
        return shlex.join(words)

    def command(self, folder: Path) -> str:
        """The whole command, for a shell."""
        return f"cnnprec ab --out {shlex.quote(str(folder))} {self}"


@dataclasses.dataclass(frozen=True, order=True)
class Job:
    """One process: which pair, counted from 1, and which side."""

    pair: int
    side: str

    def __str__(self) -> str:
        return f"{self.pair:04d}-{self.side}"


def schedule(pairs: int) -> tuple[Job, ...]:
    """The processes of so many pairs in the order in which they run: A B, B A, A B, ..."""
    return tuple(
        Job(pair, side) for pair in range(1, pairs + 1) for side in ("AB" if pair % 2 else "BA")
    )


def parse_looks(text: str) -> tuple[int, ...]:
    """Reads ``--looks``; a ValueError if so few pairs could never show a slowdown."""
    try:
        looks = tuple(int(part) for part in text.split(","))
    except ValueError:
        looks = (0,)  # which is refused
    needed = fewest_pairs(len(looks))
    increasing = all(later > earlier for earlier, later in itertools.pairwise(looks))
    if not increasing or looks[0] < FEWEST_PAIRS or looks[-1] < needed:
        raise ValueError(
            f"{text!r}: give increasing numbers of pairs, the first at least {FEWEST_PAIRS}, the "
            f"last at least {needed}, such as {','.join(map(str, DEFAULT_LOOKS))}"
        )
    return looks


def make_plan(
    *,
    a_python: str = sys.executable,
    a_checkout: str = ".",
    b_python: str = sys.executable,
    b_checkout: str = ".",
    looks: Sequence[int] = DEFAULT_LOOKS,
    tolerance: float = DEFAULT_TOLERANCE,
    margin: float = DEFAULT_MARGIN,
    options: Sequence[str] = (),
    same: bool = False,
) -> Plan:
    """Resolves and checks ab's options, with an AbError if one is not accepted; starts nothing."""
    try:
        Limits(tolerance, margin)
    except ValueError as error:
        raise AbError(f"--tolerance, --margin: {error}") from error
    for option in options:
        name = re.sub(r"^-n\w+$", "-n", option.split("=", 1)[0])
        if name in _REFUSED_OPTIONS:
            raise AbError(
                f"{option} after --: {_REFUSED_OPTIONS[name]}, so {name} cannot be given to pytest "
                "here. Leave it out."
            )
    sides = {
        "A": Side(_find_python("--a-python", a_python), _find_checkout("--a-checkout", a_checkout)),
        "B": Side(_find_python("--b-python", b_python), _find_checkout("--b-checkout", b_checkout)),
    }
    if sides["A"] == sides["B"] and not same:
        raise AbError(
            f"A and B are the same: {sides['A'].python} in {sides['A'].checkout}. Give "
            "--b-checkout or --b-python, or --aa to see what is found where nothing differs."
        )
    return Plan(sides, tuple(looks), float(tolerance), float(margin), tuple(options))


def _find_python(option: str, given: str) -> str:
    found = shutil.which(given)
    if found is None:
        raise AbError(
            f"{option} {given}: no such program. Give the path of a Python interpreter, such as "
            ".venv/bin/python"
        )
    # Links stay: through its link a virtual environment's interpreter finds its packages.
    return str(Path(found).absolute())


def _find_checkout(option: str, given: str) -> str:
    folder = Path(given)
    for part in (BENCHMARKS, "cnnprec/__init__.py"):
        if not (folder / part).is_file():
            raise AbError(
                f"{option} {given}: no checkout of this repository ({part} is missing). Give its "
                "top folder."
            )
    return str(folder.resolve())
