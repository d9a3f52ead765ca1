"""The suite's step beside the notebook's cells and PyTorch, by turns; writes a table in Markdown.

Each of them is a process of its own, and one trains at a time. A round has a turn of each, in an
order of its own, so that the machine's drift meets all of them; ratios are those of a round.
"""

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np

from cnnprec.precision.precisions import parse_precisions
from cnnprec.text import markdown_table, reported
from cnnprec.workload.load_dataset import load_dataset

OURS = "suite"
WAYS: Mapping[str, tuple[str, str]] = {
    "notebook's cells": ("ours", "notebook"),
    OURS: ("ours", "suite"),
    "suite, XLA": ("ours", "xla"),
    "PyTorch": ("in_pytorch", "eager"),
    "PyTorch, compiled": ("in_pytorch", "compiled"),
}
PRECISIONS = "double,single,half,mixed_half,bfloat16,mixed_bfloat16"
IMAGES = 16_000


class Peer:
    """One process that trains when it is told to."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - the files beside this one
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        self.problem = self._answer()
        if self.problem == "ready":
            self.problem = ""

    def step_seconds(self, steps: int) -> float:
        """Takes so many steps and returns the wall time of one."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        try:
            self._process.stdin.write(f"{steps}\n")
            self._process.stdin.flush()
            return float(self._answer()) / steps
        except (ValueError, BrokenPipeError) as error:
            command = " ".join(map(str, self._process.args))
            raise RuntimeError(f"{command} ended in the middle; run it alone to see why") from error

    def _answer(self) -> str:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        return self._process.stdout.readline().strip() or "the process ended"

    def end(self) -> None:
        """Ends the process and waits for it."""
        with suppress(BrokenPipeError):
            self._process.communicate()


@contextmanager
def peer(command: Sequence[str]) -> Iterator[Peer]:
    """A process that is ended with the block."""
    one = Peer(command)
    try:
        yield one
    finally:
        one.end()


def by_turns(
    peers: Mapping[str, Peer], rounds: int, seconds: float, most: int
) -> dict[str, list[float]]:
    """Seconds of a step of each in each round; a turn takes about so many seconds."""
    steps = {}
    for name, one in peers.items():
        one.step_seconds(3)  # still becoming faster
        steps[name] = max(3, min(round(seconds / one.step_seconds(10)), most))
    times: dict[str, list[float]] = {name: [] for name in peers}
    order = random.Random(0)  # noqa: S311
    for _ in range(rounds):
        for name in order.sample(list(peers), len(peers)):
            times[name].append(peers[name].step_seconds(steps[name]))
    return times


def rows(precision: str, times: Mapping[str, Sequence[float]]) -> list[tuple[str, ...]]:
    """Precision, who, ms a step, ratio to the suite and its spread, of each that was timed."""
    found = []
    for name, seconds in times.items():
        ratios = [theirs / ours for theirs, ours in zip(seconds, times[OURS], strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        ms = f"{statistics.median(seconds) * 1e3:.1f}"
        found.append((precision, name, ms, f"{statistics.median(ratios):.2f}", spread))
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m docs.peers", description=__doc__)
    add = parser.add_argument
    text = "interpreter that has PyTorch and NumPy (default: without PyTorch)"
    add("--torch-python", metavar="PATH", help=text)
    add("--precision", type=reported(parse_precisions), default=parse_precisions(PRECISIONS))
    add("--batch-size", type=int, default=32, metavar="N")
    add("--rounds", type=int, default=7, metavar="N")
    add("--seconds", type=float, default=2.0, help="of a turn (default: 2)")
    options = parser.parse_args()
    data = load_dataset(train_samples=IMAGES, test_samples=1)
    print(f"{data.name}, {IMAGES} images, batch {options.batch_size}\n")  # noqa: T201
    table: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "images.npz")
        np.savez(path, images=data.train_images, labels=data.train_labels)
        for precision in options.precision:
            with ExitStack() as started:
                peers = {}
                for name, (module, way) in WAYS.items():
                    python = sys.executable if module == "ours" else options.torch_python
                    if python is None:
                        continue
                    work = [way, precision.name, str(options.batch_size), str(path)]
                    one = started.enter_context(peer([python, "-m", f"docs.peers.{module}", *work]))
                    if one.problem:
                        table.append((precision.name, name, "-", "-", one.problem))
                    else:
                        peers[name] = one
                most = IMAGES // options.batch_size  # the notebook's cells know epochs only
                times = by_turns(peers, options.rounds, options.seconds, most)
            table += rows(precision.name, times)
            print(f"{precision} is done", file=sys.stderr)  # noqa: T201
    headings = ("precision", "who", "ms/step", "/suite", "of the rounds")
    print("\n".join(markdown_table(headings, table)))  # noqa: T201


if __name__ == "__main__":
    main()
