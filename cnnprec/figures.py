"""Makes the figures of the documents: ``python -m cnnprec.figures binades --out FILE``.

The model starts from the suite's initial weights and takes the first images in the order of
the set, so that a figure can be made again anywhere.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from cnnprec.config import get_profile
from cnnprec.data import DATASET_CHOICES, Dataset, load_dataset
from cnnprec.device import supports_tf32
from cnnprec.histograms import Snapshot, table
from cnnprec.plots import binades
from cnnprec.precision import Precision, parse_precisions
from cnnprec.snapshots import collect

_DEFAULT_PRECISIONS = "single,half,mixed_half,bfloat16,half_stable,bfloat16_stable"
# Each step is eager and looked at whole, a tenth of a second or more.
_MOST_STEPS = 1000
# A page in print; more would only make the file larger.
_DPI = 110


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: Without the program's name; None takes those of the process.

    Returns:
        0, the exit code. Bad arguments leave with 2 and a message before any training.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        precisions = parse_precisions(options.precision)
        _check(options, precisions)
        profile = get_profile("quick")
        dataset = load_dataset(
            options.dataset,
            data_dir=options.data_dir,
            train_samples=options.steps * profile.batch_size,
            test_samples=1,
        )
    except ValueError as error:
        parser.error(str(error))
    snapshots = snapshots_of(precisions, dataset, options.steps, profile.batch_size, profile.seed)
    binades(snapshots).savefig(options.out, dpi=_DPI)
    sys.stdout.write(
        f"{dataset.name} from {dataset.source}, batch {profile.batch_size}, after step "
        f"{options.steps - 1}\n\n" + "\n".join([*table(snapshots), "", f"wrote {options.out}\n"])
    )
    return 0


def snapshots_of(
    precisions: Sequence[Precision], dataset: Dataset, steps: int, batch_size: int, seed: int
) -> list[Snapshot]:
    """All snapshots of each precision, from the first images of a set in their order."""
    batches = [
        (
            dataset.train_images[start : start + batch_size],
            dataset.train_labels[start:][:batch_size],
        )
        for start in range(0, steps * batch_size, batch_size)
    ]
    return [
        snapshot for precision in precisions for snapshot in collect(precision, batches, seed=seed)
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cnnprec.figures", description="Makes the figures of the documents."
    )
    commands = parser.add_subparsers(dest="figure", required=True)
    command = commands.add_parser(
        "binades",
        help="gradients, moments, weights and activations by binary exponent",
        description="Trains each precision for a few steps, prints what its tensors hold after "
        "the last one, and draws it.",
    )
    command.add_argument("--out", type=Path, required=True, help="the file to write, such as x.png")
    command.add_argument(
        "--precision", default=_DEFAULT_PRECISIONS, help="comma list (default: %(default)s)"
    )
    command.add_argument("--steps", type=int, default=1, help="steps to train (default: 1)")
    command.add_argument("--dataset", choices=DATASET_CHOICES, default="auto")
    command.add_argument("--data-dir", type=Path, help="folder with the four IDX .gz files")
    return parser


def _check(options: argparse.Namespace, precisions: Sequence[Precision]) -> None:
    if not 1 <= options.steps <= _MOST_STEPS:
        raise ValueError(f"--steps {options.steps}: must be 1 to {_MOST_STEPS}")
    known = sorted(Figure().canvas.get_supported_filetypes())
    if options.out.suffix.removeprefix(".").lower() not in known:
        raise ValueError(
            f"--out {options.out}: no kind of picture; end the name in one of "
            + ", ".join(f".{kind}" for kind in known)
        )
    if not options.out.parent.is_dir():
        raise ValueError(f"--out {options.out}: there is no folder {options.out.parent}; make it")
    if options.out.is_dir():
        raise ValueError(f"--out {options.out}: is a folder; name a file in it")
    if any(precision.tensor_float_32 for precision in precisions) and not supports_tf32():
        raise ValueError("--precision tf32: this device has no TF32; leave it out")


if __name__ == "__main__":
    sys.exit(main())
