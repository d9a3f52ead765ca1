"""``cnnprec binades``: how large the numbers of a training step are, counted and drawn."""

import argparse
from pathlib import Path

from cnnprec.ab.plan import Exit
from cnnprec.cli.console import Commands, note, say
from cnnprec.measurement.supported import supported_precisions
from cnnprec.precision.precisions import parse_precisions
from cnnprec.text import reported
from cnnprec.workload.load_dataset import DATASET_CHOICES, load_dataset
from cnnprec.workload.profiles import get_profile

_DEFAULT_PRECISIONS = "single,half,mixed_half,bfloat16,half_stable,bfloat16_stable"
_MOST_STEPS = 1000  # each is eager and looked at whole, a tenth of a second or more
_DPI = 110  # a page in print; more would only make the file larger


def add_binades(commands: Commands) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "binades",
        help="count and draw the numbers of a training step by binary exponent",
        description="Trains each precision for a few steps, prints what its gradients, moments, "
        "weights and activations hold after the last one, and draws it. The model starts from the "
        "suite's initial weights and takes the first images in their order, so that a figure can "
        "be made again anywhere.",
        epilog="Example: cnnprec binades --precision single,half --out binades.png",
    )
    parser.add_argument("--out", type=Path, required=True, help="the file to write, such as x.png")
    names, usual = reported(parse_precisions), _DEFAULT_PRECISIONS
    text = f"comma list (default: {usual})"
    parser.add_argument("--precision", type=names, default=usual, metavar="NAMES", help=text)
    parser.add_argument("--steps", type=int, default=1, help="steps to train (default: 1)")
    parser.add_argument("--dataset", choices=DATASET_CHOICES, default="auto")
    parser.add_argument("--data-dir", type=Path, help="folder with the four IDX .gz files")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    profile = get_profile("quick")
    size, out, steps = profile.batch_size, arguments.out, arguments.steps
    try:
        _check(arguments)
        sizes = {"train_samples": steps * size, "test_samples": 1}
        dataset = load_dataset(arguments.dataset, data_dir=arguments.data_dir, **sizes)
    except (ValueError, ImportError) as error:
        note(f"cnnprec binades: {error}")
        return Exit.USAGE
    # Imported here because TensorFlow takes seconds to load.
    from cnnprec.diagnosis.histograms import table
    from cnnprec.diagnosis.plots import binades
    from cnnprec.diagnosis.snapshots import collect

    images = dataset.train_images.reshape(steps, size, *dataset.train_images.shape[1:])
    batches = list(zip(images, dataset.train_labels.reshape(steps, size), strict=True))
    snapshots = [
        snapshot
        for precision in arguments.precision
        for snapshot in collect(precision, batches, seed=profile.seed)
    ]
    binades(snapshots).savefig(out, dpi=_DPI)
    say(f"{dataset.name} from {dataset.source}, batch {size}, after step {steps - 1}")
    for line in ["", *table(snapshots), "", f"wrote {out}"]:
        say(line)
    return Exit.PASS


def _check(arguments: argparse.Namespace) -> None:
    """Before TensorFlow, which takes seconds to load."""
    from cnnprec.diagnosis.plots import picture_types

    out, known = arguments.out, picture_types()
    if not 1 <= arguments.steps <= _MOST_STEPS:
        raise ValueError(f"--steps {arguments.steps}: must be 1 to {_MOST_STEPS}")
    if out.suffix.removeprefix(".").lower() not in known:
        endings = ", ".join(f".{kind}" for kind in known)
        raise ValueError(f"--out {out}: no kind of picture; end the name in one of {endings}")
    if not out.parent.is_dir():
        raise ValueError(f"--out {out}: there is no folder {out.parent}; make it")
    if out.is_dir():
        raise ValueError(f"--out {out}: is a folder; name a file in it")
    for precision in set(arguments.precision) - set(supported_precisions("auto")):
        raise ValueError(f"--precision {precision}: this device cannot compute in it")
