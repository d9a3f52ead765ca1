"""Recomputes the tables and the plot of README.md from the sessions in sessions.json."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recording import DATA, collect, read
from tables import TABLES, insert

HERE = Path(__file__).parent


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python docs/evidence", description=__doc__)
    wanted = parser.add_mutually_exclusive_group()
    wanted.add_argument("--table", choices=list(TABLES), help="print this one, not all")
    parser.add_argument("--stretch", type=int, help="take the sessions of this stretch alone: 1, 2")
    wanted.add_argument("--write", action="store_true", help="renew README.md and evidence.png")
    commands = parser.add_subparsers(dest="command")
    collector = commands.add_parser("collect", help="write sessions.json from saved sessions")
    collector.add_argument("folder", type=Path)
    given = parser.parse_args()
    if given.command == "collect":
        try:
            count = collect(given.folder)
        except ValueError as error:
            parser.error(str(error))
        sys.stdout.write(f"{DATA.name}: {count} sessions, {DATA.stat().st_size} bytes\n")
        return
    recording = read()
    if given.stretch is not None:
        if given.write or not 1 <= given.stretch <= len(recording.stretches):
            known = f"give one of 1 to {len(recording.stretches)}, without --write"
            parser.error(f"--stretch {given.stretch}: {known}")
        recording = recording.stretch(given.stretch)
    page = (HERE / "README.md").read_text(encoding="utf-8")
    for name in [given.table] if given.table else TABLES:
        text = TABLES[name](recording)
        sys.stdout.write(f"## {name}\n\n{text}\n\n")
        sys.stdout.flush()
        page = insert(page, name, text)
    if given.write:
        from plot import save  # Matplotlib is an optional dependency.

        (HERE / "README.md").write_text(page, encoding="utf-8")
        save(recording, HERE / "evidence.png")


if __name__ == "__main__":
    main()
