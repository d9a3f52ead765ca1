"""Writes docs/detection.md: ``python -m tests.faults [PART ...]``, about ten minutes on two cores.

Each part is a piece of a fault's name; without one all faults are tried.
"""

import json
import sys
from pathlib import Path

from tests.faults.rows import FAULTS
from tests.faults.table import page
from tests.faults.trial import trial

PAGE = Path(__file__).parents[2] / "docs" / "detection.md"
KEPT = Path(__file__).parent / "found.json"


def main() -> None:
    found = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for fault in FAULTS:
        if sys.argv[1:] and not any(part in fault.name for part in sys.argv[1:]):
            continue
        for precision in fault.precisions:
            key = f"{fault.name} | {precision}"
            if key in found and not sys.argv[1:]:
                continue
            caught = trial(fault, precision)
            found[key] = [caught.alone, caught.same, caught.other, caught.placed]
            KEPT.write_text(
                "{\n"
                + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in found.items())
                + "\n}\n"
            )
            PAGE.write_text(page(found))
            print(key, *found[key], flush=True)  # noqa: T201


main()
