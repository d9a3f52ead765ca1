"""docs/detection.md, from what was found."""

from collections.abc import Mapping
from typing import Any

HEAD = """# Which faults are seen

Faults injected into TensorFlow and Keras, each in a training of one seed (the first
three: two or three seeds) and the probes (quick profile, Fashion-MNIST, CPU), and the checks that
fail. Written by `python -m tests.faults`; the
faults are in `tests/faults/rows.py`.

* *no baseline*: the checks of `benchmarks/test_numerics.py`: operations, first_steps, learning.
* *same stack*: the verdicts on outcome, accuracy and numerics against a healthy baseline of the
  same software. Bits count.
* *other stack*: the same with another TensorFlow, so that other bits are a notice only.
* *place*: whether a sentence names the operation or the weight, for faults that have one.

"""


def page(found: Mapping[str, Any]) -> str:
    """The page."""
    rows = [
        "| fault | precision | no baseline | same stack | other stack | place |",
        "|---|---|---|---|---|---|",
    ]
    for key, (alone, same, other, placed) in found.items():
        fault, precision = key.split(" | ")
        cells = [
            "all three" if len(side) == 3 else ", ".join(side) or "**missed**"
            for side in (alone, same, other)
        ]
        place = {True: "yes", False: "no", None: "-"}[placed]
        rows.append(f"| {fault} | {precision} | {' | '.join(cells)} | {place} |")
    count = len(found)
    rates = [
        f"| {name} | {sum(bool(row[side]) for row in found.values())} of {count} |"
        for side, name in enumerate(("no baseline", "same stack", "other stack"))
    ]
    placed = [row[3] for row in found.values() if row[3] is not None and row[0]]
    rates.append(f"| right place, of those caught that have one | {sum(placed)} of {len(placed)} |")
    return (
        HEAD
        + "\n".join(["| seen with | faults x precisions |", "|---|---|", *rates, "", *rows])
        + "\n"
    )
