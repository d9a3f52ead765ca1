"""The notebook's cells and the suite with ``--jit best``, each whole; a table in Markdown.

``python -m docs.peers.whole`` takes about half an hour on two cores. Each precision is trained by
both in turn, each time in a process of its own, with the same images, epochs and batch size.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cnnprec.text import markdown_table
from cnnprec.workload.load_dataset import load_dataset
from cnnprec.workload.profiles import get_profile

PRECISIONS = ("double", "single", "half", "mixed_half")
ROOT = Path(__file__).parents[2]
Trained = tuple[list[float], list[float]]
"""Seconds of training and accuracy, a fraction, of each run."""


def cells(name: str, runs: int, samples: int) -> Trained:
    """What the notebook does for one precision."""
    from docs.peers.ours import notebook_model

    profile = get_profile("notebook")
    data = load_dataset(train_samples=samples, test_samples=profile.test_samples)
    images, tested = data.train_images / 255.0, data.test_images / 255.0
    seconds, accuracies = [], []
    for _ in range(runs):
        model = notebook_model(name)
        start = time.perf_counter()
        model.fit(images, data.train_labels, epochs=profile.epochs, verbose=2)
        seconds.append(time.perf_counter() - start)
        accuracies.append(float(model.evaluate(tested, data.test_labels, verbose=0)[1]))
    return seconds, accuracies


def by_cells(name: str, runs: int, samples: int, folder: Path) -> Trained:
    """The same, in a process of its own."""
    target = folder / f"{name}.json"
    command = [sys.executable, "-m", "docs.peers.whole", "--cells", name, "--out", str(target)]
    _run([*command, "--runs", str(runs), "--samples", str(samples)])
    seconds, accuracies = json.loads(target.read_text())
    return seconds, accuracies


def by_suite(name: str, runs: int, samples: int, folder: Path) -> Trained:
    """A session of the suite for one precision."""
    target = folder / f"{name}_suite.json"
    options = ["--profile", "notebook", "--precision", name, "--jit", "best", "--numerics", "off"]
    options += ["--runs", str(runs), "--train-samples", str(samples)]
    options.append(f"--benchmark-json={target}")
    _run([sys.executable, "-m", "pytest", "-q", "benchmarks/", *options])
    plain = json.loads(target.read_text())
    entry = next(e["extra_info"]["cnnprec"] for e in plain["benchmarks"])
    rounds: list[dict[str, Any]] = entry["rounds"]
    return [r["seconds"] for r in rounds], [r["run"]["test_accuracy"] for r in rounds]


def _run(command: list[str]) -> None:
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)  # noqa: S603


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m docs.peers.whole", description=__doc__)
    parser.add_argument("--runs", type=int, default=1, help="trainings of each (default: 1)")
    parser.add_argument("--samples", type=int, default=60_000, help="images (default: all)")
    parser.add_argument("--cells", metavar="PRECISION", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.cells:
        given.out.write_text(json.dumps(cells(given.cells, given.runs, given.samples)))
        return
    rows: list[tuple[str, ...]] = []
    theirs, ours = [], []
    with tempfile.TemporaryDirectory() as folder:
        for place, name in enumerate(PRECISIONS):
            found: dict[Any, Trained] = {}
            for way in (by_cells, by_suite) if place % 2 == 0 else (by_suite, by_cells):
                found[way] = way(name, given.runs, given.samples, Path(folder))
            (cell_seconds, cell_right), (seconds, right) = found[by_cells], found[by_suite]
            theirs += cell_seconds
            ours += seconds
            rows.append(_row(name, sum(cell_seconds), sum(seconds), cell_right, right))
            print(f"{name} is done", file=sys.stderr)  # noqa: T201
    rows.append(_row("all", sum(theirs), sum(ours), [], []))
    headings = ("precision", "cells, s", "suite, s", "suite/cells", "cells, %", "suite, %")
    print("\n".join(markdown_table(headings, rows)))  # noqa: T201


def _row(
    name: str, theirs: float, ours: float, cell_right: list[float], right: list[float]
) -> tuple[str, ...]:
    accuracies = (" ".join(f"{a * 100:.2f}" for a in each) or "-" for each in (cell_right, right))
    return name, f"{theirs:.1f}", f"{ours:.1f}", f"{ours / theirs:.2f}", *accuracies


if __name__ == "__main__":
    main()
