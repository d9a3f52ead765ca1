"""Measuring from Python, without pytest."""

import random
from collections.abc import Iterable
from pathlib import Path

from cnnprec.machine.names import gpu_index
from cnnprec.measurement.prepare import prepare
from cnnprec.measurement.progress import Show
from cnnprec.measurement.session import MeasuredSession
from cnnprec.measurement.supported import check_batch, supported_precisions
from cnnprec.precision.precisions import Precision, parse_precisions, with_and_without_xla
from cnnprec.records.record import Record
from cnnprec.workload.profiles import get_profile


def measure(
    precisions: str | Iterable[Precision] | None = None,
    *,
    profile: str = "quick",
    epochs: int | None = None,
    runs: int | None = None,
    batch_size: int | None = None,
    train_samples: int | None = None,
    turns: int | None = None,
    dataset: str = "auto",
    data_dir: str | Path | None = None,
    device: str = "auto",
    jit: str = "auto",
    strategy: str = "none",
    order_seed: int | None = None,
    show: Show | None = None,
) -> dict[str, Record]:
    """Trains the tutorial CNN in each precision and times it, as ``pytest benchmarks/`` does.

    TensorFlow keeps to the first device that it is set up with, so one process measures on one
    device. Saved sessions hold the same records, see `cnnprec.read_sessions`.

    Args:
        precisions: A comma list of names such as ``"single,mixed_half"``, or `Precision` values;
            None for all that the device supports.
        profile: ``"quick"`` or ``"notebook"``, whose numbers those after it replace.
        epochs: Passes over the training images in one run.
        runs: Trainings per precision, each from a seed of its own.
        batch_size: Images per step.
        train_samples: Number of training images.
        turns: Short timed turns of every precision after the runs; 0 for none.
        dataset: ``"auto"``, ``"fashion-mnist"`` or ``"synthetic"``.
        data_dir: Folder with Fashion-MNIST's four IDX files.
        device: ``"auto"``, ``"cpu"``, ``"gpu"`` or ``"gpu:N"``.
        jit: ``"auto"`` (Keras' rule), ``"on"`` or ``"off"`` for XLA, ``"best"`` for the faster of
            the two in each precision, ``"both"`` for a record of each.
        strategy: ``"mirrored"`` where all GPUs share each batch, ``"multiworker"`` where those of
            several hosts do (docs/strategies.md), else ``"none"``.
        order_seed: Seed of the order of the precisions; None for a new one, or 0 for several hosts.
        show: Called with how far the work is now and then, and with None at the end.

    Returns:
        A record for each precision by its name, in the order in which they were trained. A record
        has ``runs`` rounds; times are seconds, memory is bytes.

    Raises:
        ValueError: A name or a number is not accepted, the device is not there (DeviceError), or
            the images cannot be had (DatasetError).
        Exception: Whatever the training of a precision raised.
    """
    config = get_profile(profile).override(
        epochs=epochs,
        runs=runs,
        batch_size=batch_size,
        train_samples=train_samples,
        turns=turns,
        jit=jit,
        strategy=strategy,
    )
    if precisions is None:
        chosen = supported_precisions(device)
    elif isinstance(precisions, str):
        chosen = parse_precisions(precisions)
    else:
        chosen = tuple(precisions)
    if jit == "both":
        chosen = with_and_without_xla(chosen)
    check_batch(chosen, config.batch_size, device)
    folder = None if data_dir is None else Path(data_dir)
    prepared = prepare(config, chosen, dataset=dataset, data_dir=folder, device=device)
    order_seed = config.order_seed() if order_seed is None else order_seed
    order = random.Random(order_seed).sample(chosen, len(chosen))  # noqa: S311
    session = MeasuredSession(
        order, config, prepared, order_seed=order_seed, gpu=gpu_index(device), show=show
    )
    records = {}
    for precision in order:
        series = session.take(precision)
        if series.error is not None:
            raise series.error
        records[precision.name] = series.record
    return records
