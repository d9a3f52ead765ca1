"""``cnnprec fleet``: many hosts, each judged by the others."""

import argparse
from collections import Counter
from pathlib import Path

from cnnprec.ab.plan import Exit
from cnnprec.cli.compare import exit_code, read_places
from cnnprec.cli.console import Commands, add_judging, note, say, terminal_width
from cnnprec.records.read_sessions import SavedSession, Skipped
from cnnprec.reports.fleet import fleet, write_fleet
from cnnprec.reports.verdict_json import holds_verdict, make_way
from cnnprec.text import printable
from cnnprec.verdicts.fleet import decide_fleet, judge_fleet
from cnnprec.verdicts.verdict import Limits


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "fleet",
        help="compare hosts with each other",
        description="Which hosts are slow, or compute something else than most? There is no "
        "baseline. FOLDER/HOST.json and FOLDER/0001_HOST.json are sessions of HOST, and so are "
        "all in FOLDER/HOST/. GPUs of one host are judged apart, by their UUIDs.",
        epilog="Exit codes: 0 PASS, or INCONCLUSIVE without --require-verdict; 1 FAIL; "
        "4 bad options, a file that cannot be read, hosts that did other work.",
    )
    parser.add_argument("folder", nargs="+", type=Path, metavar="FOLDER")
    add_judging(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    limits = Limits(arguments.tolerance, arguments.margin)
    if arguments.verdict_json is not None:
        make_way(arguments.verdict_json, "verdict", holds_verdict)
    sessions, skipped = read_places(arguments.folder)
    inside = [d for f in arguments.folder if f.is_dir() for d in sorted(f.iterdir())]
    empty = [d for d in inside if d.is_dir() and d.name[0] != "." and not any(d.glob("*.json"))]
    skipped += tuple(Skipped(place, "it holds no session of this host") for place in empty)
    hosts: dict[tuple[str, str], list[SavedSession]] = {}
    for session in sessions:
        place = session.path.parent
        alone = place in arguments.folder or session.path in arguments.folder
        gpu = next(iter(session.records.values())).environment.gpu_uuid or ""
        hosts.setdefault((session.name if alone else place.name, gpu), []).append(session)
    gpus = Counter(host for host, _ in hosts)
    named = {f"{h} {gpu}".strip() if gpus[h] > 1 else h: (h, gpu) for h, gpu in sorted(hosts)}
    found = judge_fleet({name: hosts[key] for name, key in named.items()}, limits)
    decision = decide_fleet(found)
    if arguments.verdict_json is not None:
        write_fleet(arguments.verdict_json, found, decision)
    for skip in skipped:
        note(f"cnnprec fleet: left out {printable(f'{skip.path}: {skip.reason}')}")
    for line in fleet(found, decision, terminal_width()):
        say(line)
    code = exit_code(decision.verdict, arguments.require_verdict)
    return code or (Exit.USAGE if skipped else Exit.PASS)
