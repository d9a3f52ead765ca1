"""The command ``cnnprec``: finds the subcommand and runs it."""

import argparse
import sys
from collections.abc import Sequence

import cnnprec
from cnnprec.ab.plan import AbError, Exit
from cnnprec.cli import ab, baseline, compare, fleet, history, report, scaling
from cnnprec.cli.console import Parser, drop_output, note

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
    parser.set_defaults(run=lambda _: parser.print_help())
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for module in (ab, baseline, compare, fleet, history, report, scaling):
        module.add(commands)
    given = argparse.Namespace(options=options, separated=separated)
    arguments = parser.parse_args(words, given)
    name = f"cnnprec {arguments.command}"
    try:
        return int(arguments.run(arguments) or Exit.PASS)
    except BrokenPipeError:
        drop_output()
        return Exit.PASS
    except KeyboardInterrupt:
        note(f"{name}: interrupted; what is saved counts when it is started again")
        return Exit.INTERRUPTED
    except (AbError, ValueError, OSError) as error:
        note(f"{name}: {error}")
        return error.code if isinstance(error, AbError) else Exit.USAGE


if __name__ == "__main__":
    sys.exit(main())
