"""The command ``cnnprec``. It reads options and shows results; nothing is decided here."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import cnnprec
from cnnprec import ab, ab_plan
from cnnprec.baseline import read_session
from cnnprec.compare import DEFAULT_MARGIN, DEFAULT_TOLERANCE, parse_share
from cnnprec.options import reported
from cnnprec.report import results

_EXAMPLES = """\
examples:
  pytest benchmarks/                                    measure this machine
  cnnprec report benchmarks/baselines/*/*.json          show what was saved
  cnnprec ab --b-checkout ../new                        is the other commit slower?
  cnnprec ab --b-python ../tf-new/bin/python -- --precision single,half
                                                        is the other TensorFlow slower?
"""

_AB_DESCRIPTION = """\
Is B slower than A? Runs the benchmarks of both by turns, each time in a new process: A B, B A,
A B, and so on. After each planned number of pairs it looks at the ratios B/A, and stops when
they decide.

Started again with the same arguments it goes on where it was stopped.
"""

_AB_EPILOG = f"""\
Everything after -- goes to both pytest runs, such as -- --precision single --profile quick.
Relative paths there count from each checkout.

The chance to call a slowdown that is not there is 5 % in all. It is split evenly between the
looks, so plan few of them.

exit codes:
    0  PASS: a slowdown of the margin or more is excluded
    1  FAIL: B is slower or larger by more than the tolerance, or ends differently
    3  INCONCLUSIVE: the planned pairs decide neither
    4  bad options, or A and B cannot be compared; nothing is judged
    5  INVALID: a process failed or left no usable session
  130  interrupted

examples:
  cnnprec ab --b-checkout ../new --looks 6,12
  cnnprec ab --b-python ../tf-new/bin/python --out tf-new -- --precision single,half --runs 10

--runs 10 gives ab enough seeds to judge the accuracy too, where A and B do not train to the
same bits. Defaults: tolerance {DEFAULT_TOLERANCE:g}, margin {DEFAULT_MARGIN:g}.
"""


class _Parser(argparse.ArgumentParser):
    """Ends with pytest's code for a usage error; argparse's own is 2, pytest's Ctrl-C."""

    def error(self, message: str) -> NoReturn:
        self.exit(
            ab_plan.Exit.USAGE,
            f"{self.prog}: error: {message}\nSee {self.prog} --help for what it takes.\n",
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code.

    Args:
        argv: The arguments, those of the process by default.

    Raises:
        SystemExit: After ``--help``, ``--version`` and options that cannot be read.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    options: list[str] = []
    if words[:1] == ["ab"] and "--" in words:
        cut = words.index("--")
        words, options = words[:cut], words[cut + 1 :]
    parser = _parser()
    arguments = parser.parse_args(words)
    if arguments.command == "ab":
        return _ab(arguments, options)
    try:
        if arguments.command == "report":
            return _report(arguments.files, markdown=arguments.markdown)
        parser.print_help()
    except BrokenPipeError:
        # The reader, such as head, has seen enough. Python would complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ab_plan.Exit.PASS


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="cnnprec",
        description="What a floating-point precision costs in training, and whether it changed.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"cnnprec {cnnprec.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_ab(commands)
    report = commands.add_parser(
        "report",
        help="print RESULTS of saved sessions",
        description="Prints RESULTS of sessions saved with --benchmark-save or --benchmark-json. "
        "A file that cannot be read is named, and the exit code is then 4.",
        allow_abbrev=False,
    )
    report.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a saved session")
    report.add_argument(
        "--markdown", action="store_true", help="as Markdown: each file a heading and a block"
    )
    return parser


def _add_ab(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "ab",
        help="compare two interpreters or checkouts, by turns",
        usage="cnnprec ab [options] [-- PYTEST_OPTIONS]",
        description=_AB_DESCRIPTION,
        epilog=_AB_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for side in "ab":
        parser.add_argument(
            f"--{side}-python",
            default=sys.executable,
            metavar="PROGRAM",
            help=f"interpreter of {side.upper()} (default: the one that runs this)",
        )
        parser.add_argument(
            f"--{side}-checkout",
            default=".",
            metavar="DIR",
            help=f"checkout of this repository that {side.upper()} runs (default: this folder)",
        )
    parser.add_argument(
        "--looks",
        type=reported(ab_plan.parse_looks),
        default=ab_plan.DEFAULT_LOOKS,
        metavar="PAIRS,...",
        help="numbers of pairs after which to look "
        f"(default: {','.join(map(str, ab_plan.DEFAULT_LOOKS))})",
    )
    for name, default, what in (
        ("tolerance", DEFAULT_TOLERANCE, "slowdown that is no failure, such as 3%% or 0.03"),
        ("margin", DEFAULT_MARGIN, "slowdown that a PASS excludes"),
    ):
        parser.add_argument(
            f"--{name}",
            type=reported(parse_share),
            default=default,
            metavar="SHARE",
            help=f"{what} (default: {default:g})",
        )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("ab-results"),
        metavar="DIR",
        help="where all is kept (default: ab-results)",
    )


def _ab(arguments: argparse.Namespace, options: Sequence[str]) -> int:
    try:
        plan = ab_plan.make_plan(
            a_python=arguments.a_python,
            a_checkout=arguments.a_checkout,
            b_python=arguments.b_python,
            b_checkout=arguments.b_checkout,
            looks=arguments.looks,
            tolerance=arguments.tolerance,
            margin=arguments.margin,
            options=options,
        )
        return ab.run(plan, arguments.out, _say, _note)
    except ab_plan.AbError as error:
        _note(f"cnnprec ab: {error}")
        return error.code
    except Exception:  # Python's own exit code for it is 1, and that would read as a FAIL
        _note(traceback.format_exc())
        _note("cnnprec ab: stopped by the error above; complete sessions are kept")
        return ab_plan.Exit.INVALID


def _report(files: Sequence[Path], *, markdown: bool) -> int:
    code = ab_plan.Exit.PASS
    for place, path in enumerate(files):
        try:
            lines = results(read_session(path).records.values())
        except ValueError as error:
            _note(f"cnnprec report: {error}")
            code = ab_plan.Exit.USAGE
            continue
        if place:
            _say("")
        if markdown:
            lines = [f"## {path.name}", "", "```", *lines, "```"]
        elif len(files) > 1:
            lines = [f"{path}:", "", *lines]
        for line in lines:
            _say(line)
    return code


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _note(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
