"""The command ``cnnprec``: finds the subcommand and runs it."""

import argparse
import sys
from collections.abc import Sequence

import cnnprec
from cnnprec.ab.plan import Exit
from cnnprec.cli.ab import add_ab
from cnnprec.cli.baseline import add_baseline
from cnnprec.cli.compare import add_compare
from cnnprec.cli.console import Parser, drop_output
from cnnprec.cli.fleet import add_fleet
from cnnprec.cli.history import add_history
from cnnprec.cli.report import add_report
from cnnprec.cli.scaling import add_scaling

_EXAMPLES = """\
examples:
  pytest benchmarks/                                    measure this machine
  cnnprec report benchmarks/baselines/*/*.json          show what was saved
  cnnprec ab --b-checkout ../new                        is the other commit slower?
  cnnprec scaling --out scaling.json                    from which batch on does each pay?
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with these arguments, else the process's, and returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    options: list[str] = []
    separated = words[:1] in (["ab"], ["baseline"], ["compare"]) and "--" in words
    if separated:
        cut = words.index("--")
        words, options = words[:cut], words[cut + 1 :]
    parser = Parser(
        prog="cnnprec",
        description="What a floating-point precision costs in training, and whether it changed.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cnnprec {cnnprec.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    comparing = (add_ab, add_baseline, add_compare, add_fleet, add_history)
    for add in (*comparing, add_report, add_scaling):
        add(commands)
    given = argparse.Namespace(options=options, separated=separated)
    arguments = parser.parse_args(words, given)
    try:
        if arguments.command is None:
            parser.print_help()
            return Exit.PASS
        return int(arguments.run(arguments))
    except BrokenPipeError:
        drop_output()
        return Exit.PASS


if __name__ == "__main__":
    sys.exit(main())
