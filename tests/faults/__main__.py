"""The drill: ``python -m tests.faults [PART ...]``, and faults at random with ``--random COUNT``.

Each part is a piece of a fault's name; without one all of the list are tried. ``--harmless``
measures harmless changes. All write what they found after each one and go on where they were
stopped, and all renew docs/detection.md.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

from cnnprec.records.write_whole import write_whole
from tests.faults.families import drawn
from tests.faults.harmless import VARIANTS, failures, measured_apart
from tests.faults.rows import FAULTS
from tests.faults.table import page
from tests.faults.trial import quick_trial, trial

PAGE = Path(__file__).parents[2] / "docs" / "detection.md"
KEPT, RANDOM, HARMLESS = (
    Path(__file__).with_name(f"found{kind}.json") for kind in ("", "_random", "_harmless")
)


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.exists() else {}


def keep(path: Path, key: str, value: Any) -> None:
    # Read again, because several processes may share the work.
    found = {**read(path), key: value}
    rows = (f"{json.dumps(k)}: {json.dumps(v)}" for k, v in found.items())
    write_whole(path, "{\n" + ",\n".join(rows) + "\n}\n")
    write_whole(PAGE, page(read(KEPT), read(RANDOM), read(HARMLESS)))
    print(key, value, flush=True)  # noqa: T201


def listed(parts: list[str]) -> None:
    known = read(KEPT)
    for fault in FAULTS:
        for precision in fault.precisions:
            key = f"{fault.name} | {precision}"
            if any(part in key for part in parts) or not (parts or key in known):
                caught = trial(fault, precision)
                keep(KEPT, key, list(dataclasses.astuple(caught)))


def at_random(numbers: range, minutes: float) -> None:
    began, known = time.monotonic(), read(RANDOM)
    for number in numbers:
        if f"{number:04}" in known:
            continue
        if time.monotonic() - began > 60 * minutes:
            break
        one = drawn(number)
        keep(
            RANDOM, f"{number:04}", [*one.family, one.precision, round(one.size), quick_trial(one)]
        )


def harmless() -> None:
    usual, *variants = VARIANTS
    due = [name for name in variants if name not in read(HARMLESS)]
    before = measured_apart(usual) if due else {}
    for name in due:
        keep(HARMLESS, name, list(failures(before, measured_apart(name))))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--random", type=int, default=0, metavar="COUNT")
    parser.add_argument("--from", type=int, default=0, dest="first", metavar="NUMBER")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no fault after so long")
    parser.add_argument("--harmless", action="store_true", help="measure harmless changes")
    asked = parser.parse_args()
    if asked.harmless:
        harmless()
    elif asked.random:
        at_random(range(asked.first, asked.first + asked.random), asked.minutes)
    else:
        listed(asked.parts)


main()
