"""docs/detection.md, from what was found."""

from collections.abc import Mapping, Sequence
from typing import Any

from scipy.stats import beta

from tests.faults.trial import IDLE, PEERS

HEAD = """# Which faults are seen

Faults injected into TensorFlow and Keras, each in trainings of three seeds and the probes (quick
profile, Fashion-MNIST, CPU), and the checks that fail. Written by `python -m tests.faults`; the
faults are in `tests/faults/rows.py`.

* *no baseline*: the checks of `benchmarks/test_numerics.py`: operations, first_steps, learning.
* *same stack*: the verdicts on outcome, accuracy and numerics against a healthy baseline of the
  same software. Bits count.
* *other stack*: the same with another TensorFlow, so that other bits are a notice only.
* *place*: whether a sentence names the operation or the weight, for faults that have one.
* *step*: the first step that a sentence of *no baseline* names. Faults 18 flip the bit at the end
  of step 5, so the loss of step 6 is the first that can show it.

*others*: what other rules would have said of the same trainings, each against the healthy ones:

* *accuracy*: the mean accuracy of the seeds moved by more than 2 points.
* *losses*: the mean of the losses of all epochs and seeds moved by more than 5 %.
* *repeats*: the first seed, trained once more with the fault, ends with other bits.
* *check_numerics*: `tf.debugging.enable_check_numerics` ends the training, and not the healthy one.
  It ends a healthy one of `mixed_half` and `half`, by the overflow that is expected there.

"""


AT_RANDOM = """
## Faults drawn at random

Operation x mode x rarity x precision x size, drawn from a seed (`tests/faults/families.py`): what
an operation, a gradient of it or Adam gives is changed by 10 to 10,000 times the error that is
allowed there, or is zero, has the other sign, is a neighbour's, has a bit flipped, everywhere or in
some elements only. TensorFlow is another one, so bits do not count. Written by
`python -m tests.faults --random COUNT`. The probes run until one is wrong; only where none is, a
training and its verdicts follow. Faults that changed no bit of anything are left out.

"""


HARMLESS = """
## Harmless changes

Each in a process of its own, quick numerics and three trainings of each of the eight precisions,
judged alone, against what was measured without the change as if TensorFlow were another one, and as
it is where the two may be compared. Written by `python -m tests.faults --harmless`; the changes are
in `tests/faults/harmless.py`. Threads, oneDNN, op determinism and XLA are also among those that
the limits were recorded with (`docs/evidence/harmless.py`); the others are not.

"""


def page(found: Mapping[str, Any], drawn: Mapping[str, Any], changed: Mapping[str, Any]) -> str:
    """The page."""
    rows = [row for row in drawn.values() if row[-1] != IDLE]
    return listed(found) + at_random(rows) + harmless(changed)


def harmless(changed: Mapping[str, Any]) -> str:
    """The table of harmless changes; a row is precision, ``"same"`` or ``"other"``, FAILs."""
    if not changed:
        return ""
    lines = ["| change | runs | other weights | correctness FAIL |", "|---|---|---|---|"]
    groups = {"all": [row for rows in changed.values() for row in rows], **changed}
    for name, rows in groups.items():
        others = sum(row[1] == "other" for row in rows)
        wrong = [f"{row[0]}: {', '.join(row[2:])}" for row in rows if row[2:]]
        said = f"**{'; '.join(wrong)}**" if wrong and name != "all" else str(len(wrong))
        lines.append(f"| {name} | {len(rows)} | {others} | {said} |")
    return HARMLESS + "\n".join(lines) + "\n"


def at_random(rows: Sequence[Any]) -> str:
    """The rates by family; a row is operation, mode, rarity, precision, size, what caught it."""
    if not rows:
        return ""
    lines = ["| family | faults | caught | 95 % interval |", "|---|---|---|---|"]
    groups = {"all": rows}
    for place in (0, 1, 2, 3):
        for name in sorted({row[place] for row in rows}):
            groups[name] = [row for row in rows if row[place] == name]
    for name, members in groups.items():
        hits = sum(bool(row[-1]) for row in members)
        low, high = interval(hits, len(members))
        share = f"{hits} ({hits / len(members):.0%})"
        lines.append(f"| {name} | {len(members)} | {share} | {low:.0%} to {high:.0%} |")
    missed = [f"* {', '.join(row[:4])}, {row[4]} times" for row in rows if not row[-1]]
    return AT_RANDOM + "\n".join([*lines, "", "Missed:", "", *(missed or ["* none"])]) + "\n"


def interval(hits: int, count: int) -> tuple[float, float]:
    """Clopper and Pearson's for a share, 95 %."""
    low = float(beta.ppf(0.025, hits, count - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, hits + 1, count - hits)) if hits < count else 1.0
    return low, high


def listed(found: Mapping[str, Any]) -> str:
    """The faults of the list."""
    rows = [
        "| fault | precision | no baseline | same stack | other stack | place | step | others |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for key, (alone, same, other, placed, step, peers) in found.items():
        fault, precision = key.split(" | ")
        cells = [
            "all three" if len(side) == 3 else ", ".join(side) or "**missed**"
            for side in (alone, same, other)
        ]
        cells.append({True: "yes", False: "no", None: "-"}[placed])
        cells += ["-" if step is None else str(step), ", ".join(peers) or "none"]
        rows.append(f"| {fault} | {precision} | {' | '.join(cells)} |")
    count = len(found)
    rates = [
        f"| {name} | {sum(bool(row[side]) for row in found.values())} of {count} |"
        for side, name in enumerate(("no baseline", "same stack", "other stack"))
    ]
    rates += [
        f"| *{rule}* | {sum(rule in row[5] for row in found.values())} of {count} |"
        for rule in PEERS
    ]
    placed = [row[3] for row in found.values() if row[3] is not None and row[0]]
    rates.append(f"| right place, of those caught that have one | {sum(placed)} of {len(placed)} |")
    return (
        HEAD
        + "\n".join(["| seen with | faults x precisions |", "|---|---|", *rates, "", *rows])
        + "\n"
    )
