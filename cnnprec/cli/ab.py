"""``cnnprec ab``: two interpreters or checkouts, measured by turns."""

import argparse
import sys
import traceback
from pathlib import Path

from cnnprec.ab.plan import DEFAULT_LOOKS, AbError, Exit, make_plan, parse_looks
from cnnprec.ab.run import run
from cnnprec.cli.console import Commands, add_limits, note, say, terminal_width
from cnnprec.text import parse_time, reported
from cnnprec.verdicts.verdict import DEFAULT_MARGIN, DEFAULT_TOLERANCE

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


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "ab",
        help="compare two interpreters or checkouts, by turns",
        usage="cnnprec ab [options] [-- PYTEST_OPTIONS]",
        description=_AB_DESCRIPTION,
        epilog=_AB_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    program, limit, when = sys.executable, reported(parse_time), "pairs after which to look"
    looks, this = ",".join(map(str, DEFAULT_LOOKS)), "(default: the one that runs this)"
    for name, parse, default, metavar, what in (
        ("a-python", str, program, "PROGRAM", f"interpreter of A {this}"),
        ("a-checkout", str, ".", "DIR", "checkout that A runs (default: this folder)"),
        ("b-python", str, program, "PROGRAM", f"interpreter of B {this}"),
        ("b-checkout", str, ".", "DIR", "checkout that B runs (default: this folder)"),
        ("looks", reported(parse_looks), DEFAULT_LOOKS, "PAIRS,...", f"{when} (default: {looks})"),
        ("out", Path, Path("ab-results"), "DIR", "where all is kept (default: ab-results)"),
        ("session-timeout", limit, None, "TIME", "end a longer session, such as 1h (default: no)"),
    ):
        parser.add_argument(f"--{name}", type=parse, default=default, metavar=metavar, help=what)
    text = "compare A with itself: what is found then is noise"
    parser.add_argument("--aa", action="store_true", help=text)
    add_limits(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    sides = ("a_python", "a_checkout", "b_python", "b_checkout")
    names = (*sides, "looks", "tolerance", "margin", "options")
    try:
        plan = make_plan(**{n: getattr(arguments, n) for n in names}, same=arguments.aa)
        for name, side in plan.sides.items():
            note(f"{name}: {side.python} in {side.checkout}")
        return run(plan, arguments.out, say, note, arguments.session_timeout, terminal_width())
    except AbError:
        raise
    except OSError as error:
        remedy = "Mend it, and the same command goes on; sessions are kept"
        raise AbError(f"{error}. {remedy}", Exit.INVALID) from error
    except Exception as error:  # Python's own exit code for it is 1, and that would read as a FAIL
        note(traceback.format_exc())
        stopped = "stopped by the error above; complete sessions are kept"
        raise AbError(stopped, Exit.INVALID) from error
