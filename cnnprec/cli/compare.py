"""``cnnprec compare``: the verdicts on saved sessions, without measuring anything."""

import argparse
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

from cnnprec.ab.plan import Exit
from cnnprec.cli.console import (
    Commands,
    Parser,
    add_judging,
    drop_output,
    note,
    say,
    terminal_width,
)
from cnnprec.records.read_sessions import SavedSession, Skipped, read_files
from cnnprec.records.session_files import session_files
from cnnprec.reports.baseline import describe_baseline
from cnnprec.reports.github import tell_github
from cnnprec.reports.verdict_json import holds_verdict, make_way, write_verdict
from cnnprec.reports.verdicts import verdicts, verdicts_markdown
from cnnprec.text import markdown_text, printable, reported
from cnnprec.verdicts.comparability import parse_vary
from cnnprec.verdicts.judge_saved import judge_saved
from cnnprec.verdicts.limits import read_limits
from cnnprec.verdicts.verdict import DEFAULT_MARGIN, DEFAULT_TOLERANCE, Comparison, Limits, Verdict

_DESCRIPTION = """\
Is NEW slower or otherwise worse than OLD? Gives the verdicts that pytest --benchmark-compare
gives, from files. OLD and NEW are saved sessions or folders of them. Each NEW session is judged
by those of OLD that it can be compared with: same machine, same work.
"""

_EPILOG = f"""\
exit codes, of several NEW sessions the first of 1, 4, 0 that one has:
    0  PASS, or INCONCLUSIVE without --require-verdict
    1  FAIL or INVALID, or INCONCLUSIVE with --require-verdict
    4  bad options, a file that cannot be read, INCOMPARABLE or NO_BASELINE

examples:
  cnnprec compare baselines/ -- new.json
  cnnprec compare --vary driver 000[1-6]_base.json -- 0007_base.json 0008_base.json

Defaults: tolerance {DEFAULT_TOLERANCE:g}, margin {DEFAULT_MARGIN:g}.
--verdict-json takes one NEW session only.
"""

_SIDES = "Give cnnprec compare OLD... -- NEW..., such as cnnprec compare baselines/ -- new.json"


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "compare",
        help="judge saved sessions by other saved sessions",
        usage="cnnprec compare [options] OLD... -- NEW...",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("old", nargs="*", type=Path, metavar="OLD", help="a session or a folder")
    parser.add_argument(
        "--vary",
        type=reported(parse_vary),
        metavar="NAMES",
        help="only these may differ, such as driver or tensorflow,keras (default: all of the "
        "software may differ; it is listed)",
    )
    add_judging(parser)
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    parser.set_defaults(run=functools.partial(_run, parser))


def _run(parser: Parser, arguments: argparse.Namespace) -> int:
    _check_words(parser, arguments.old, arguments.options, arguments.separated)
    target: Path | None = arguments.verdict_json
    if target is not None:
        make_way(target, "verdict", holds_verdict)
    limits = read_limits(Path("pyproject.toml"), Limits(arguments.tolerance, arguments.margin))
    old, old_skipped = read_places(arguments.old)
    new, new_skipped = read_files(_files(map(Path, arguments.options)))
    if target is not None and len(new) > 1:
        raise ValueError(
            f"--verdict-json {target}: holds the verdicts on one session and NEW are {len(new)}. "
            "Run once for each."
        )
    codes = {Exit.PASS}
    for skip in new_skipped:
        note(f"cnnprec compare: {printable(f'{skip.path}: {skip.reason}')}")
        codes.add(Exit.PASS if skip.copy else Exit.USAGE)
    lines: list[str] = []
    compared: list[Comparison] = []
    for session in new:
        others = [other for other in old if other.digest != session.digest]
        selection, found = judge_saved(others, session, vary=arguments.vary, limits=limits)
        lines += [""] if lines else []
        baseline = describe_baseline(selection, old_skipped, limits)
        lines += _lines(session.path, found, baseline, markdown=arguments.markdown)
        compared.append(found)
        codes.add(exit_code(found.verdict, arguments.require_verdict))
        if target is not None:
            paths = [other.path for other in selection.sessions]
            try:
                write_verdict(target, found, paths, session.path)
            except OSError as error:
                note(f"cnnprec compare: --verdict-json {target}: {error.strerror or error}")
                codes.add(Exit.USAGE)
    try:
        for line in lines:
            say(line)
        for found in () if arguments.markdown else compared:
            tell_github(found, verdicts_markdown(found), say)
    except BrokenPipeError:  # what was not read was judged all the same
        drop_output()
    return next(code for code in (Exit.FAIL, Exit.USAGE, Exit.PASS) if code in codes)


def _check_words(parser: Parser, old: list[Path], new: list[str], separated: bool) -> None:
    if not separated:
        parser.error(f"there is no -- between OLD and NEW. {_SIDES}")
    if not (old and new):
        side = "NEW" if old else "OLD"
        parser.error(f"{side} is empty: no file and no folder is given. {_SIDES}")
    for word in new:
        if word.startswith("-"):
            parser.error(f"{word} after --: options go before OLD. {_SIDES}")


def _files(places: Iterable[Path]) -> list[Path]:
    """The files given and all sessions of the folders given; ValueError where there is none."""
    files: list[Path] = []
    for place in places:
        found = session_files(place) if place.is_dir() else [place]
        if not found:
            raise ValueError(
                f"{place}: there is no saved session in this folder; save one with "
                "pytest benchmarks/ --benchmark-save=NAME"
            )
        files += found
    return list(dict.fromkeys(files))


def read_places(places: Sequence[Path]) -> tuple[tuple[SavedSession, ...], tuple[Skipped, ...]]:
    """The sessions of files and folders, and the files of folders that are none; or ValueError."""
    sessions, skipped = read_files(_files(places))
    wrong = [skip for skip in skipped if not skip.copy and (skip.path in places or not sessions)]
    if wrong:
        raise ValueError("\n".join(printable(f"{s.path}: {s.reason}") for s in wrong))
    return sessions, skipped


def _lines(path: Path, found: Comparison, baseline: Iterable[str], *, markdown: bool) -> list[str]:
    if not markdown:
        return [f"session: {printable(str(path))}", *baseline, *verdicts(found, terminal_width())]
    points = [f"* {markdown_text(line)}" for line in baseline]
    return [f"## {markdown_text(path.name)}", "", *points, "", *verdicts_markdown(found)]


def exit_code(verdict: Verdict, require_verdict: bool) -> Exit:
    """The exit code of a verdict."""
    if verdict is Verdict.PASS or (verdict is Verdict.INCONCLUSIVE and not require_verdict):
        return Exit.PASS
    return Exit.USAGE if verdict in (Verdict.INCOMPARABLE, Verdict.NO_BASELINE) else Exit.FAIL
