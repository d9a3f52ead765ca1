"""The pytest plugin: options, checks before any work, progress, RESULTS.

Load it with ``pytest_plugins = ["cnnprec.pytest_plugin"]`` in a top-level ``conftest.py`` or
with ``pytest -p cnnprec.pytest_plugin``. It does not load itself, because options as general
as ``--profile`` would collide with other plugins in environments that only happen to have
this package.

This is an adapter: what the options mean is decided in the modules below it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import cnnprec
from cnnprec.config import JIT_CHOICES, PROFILES, TrainingConfig
from cnnprec.data import DATASET_CHOICES, Dataset, load_dataset, locate_fashion_mnist
from cnnprec.hyperparameters import check_precision, fatal
from cnnprec.machine import DeviceError, check_device_name
from cnnprec.nvml import query_gpus
from cnnprec.options import reported
from cnnprec.precision import PRECISIONS, Precision, format_precisions, parse_precisions
from cnnprec.progress import Progress
from cnnprec.record import DataInfo, Environment, Record
from cnnprec.report import results

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

pytest_plugins = ["cnnprec.pytest_baselines"]

SESSION = pytest.StashKey["Session"]()
"""Where pytest's config keeps the `Session`."""


@dataclasses.dataclass
class Session:
    """What one pytest session trains, on what, and what it has found so far."""

    config: TrainingConfig
    precisions: tuple[Precision, ...]
    dataset_choice: str
    data_dir: Path | None
    device_choice: str
    order_seed: int
    asked: frozenset[str] | None = None
    """Precisions named with --precision; None if none were."""
    records: dict[str, Record] = dataclasses.field(default_factory=dict)
    prepared: Prepared | None = None

    def load(self, config: TrainingConfig) -> Dataset:
        """As many images as the config asks for, from where the options say."""
        return load_dataset(
            self.dataset_choice,
            data_dir=self.data_dir,
            train_samples=config.train_samples,
            test_samples=config.test_samples,
        )


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What is known once TensorFlow runs and the data are read."""

    dataset: Dataset
    environment: Environment

    @property
    def data_info(self) -> DataInfo:
        """Which data these are, for records."""
        return DataInfo(self.dataset.name, self.dataset.source, self.dataset.digest)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the group "cnnprec"."""
    group = parser.getgroup("cnnprec", "training precision benchmarks")
    default = PROFILES["quick"]
    group.addoption(
        "--precision",
        type=reported(parse_precisions),
        metavar="NAMES",
        help=f"comma list of {', '.join(PRECISIONS)} (default: all that the device supports)",
    )
    group.addoption(
        "--profile",
        choices=list(PROFILES),
        default=default.profile,
        help="how much to train: "
        + "; ".join(
            f"{name}: {p.train_samples} images x {p.epochs} epochs x {p.runs} runs"
            for name, p in PROFILES.items()
        )
        + f" (default: {default.profile})",
    )
    for name, what in (
        ("epochs", "epochs per run"),
        ("runs", "runs per precision"),
        ("batch-size", "images per step"),
        ("train-samples", "training images"),
    ):
        group.addoption(f"--{name}", type=int, metavar="N", help=f"{what} (default: the profile's)")
    group.addoption(
        "--dataset",
        choices=DATASET_CHOICES,
        default="auto",
        help="auto: Fashion-MNIST if it can be had, else synthetic (default); "
        "fashion-mnist: an error if it cannot be had",
    )
    group.addoption(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="folder with Fashion-MNIST's four IDX .gz files",
    )
    group.addoption(
        "--device",
        type=reported(check_device_name),
        default="auto",
        help="auto: the first GPU, else the CPU (default); cpu, gpu or gpu:N, an error if "
        "it is not there",
    )
    group.addoption(
        "--jit",
        choices=JIT_CHOICES,
        default="auto",
        help="XLA: auto is Keras' own rule (default)",
    )
    group.addoption(
        "--order-seed",
        type=int,
        metavar="N",
        help="seed of the order of the benchmarks (default: a new one, shown in the header)",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Checks the options; runs before pytest-benchmark reads its own."""
    option = config.option
    try:
        training = PROFILES[option.profile].override(
            epochs=option.epochs,
            runs=option.runs,
            batch_size=option.batch_size,
            train_samples=option.train_samples,
            jit=option.jit,
        )
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error
    if option.data_dir is not None and not option.data_dir.is_dir():
        raise pytest.UsageError(
            f"--data-dir {option.data_dir}: no such folder. Give the folder with Fashion-MNIST's "
            "four IDX .gz files, or leave the option out to have them looked for."
        )
    config.stash[SESSION] = Session(
        config=training,
        precisions=option.precision or _supported_precisions(option.device),
        dataset_choice=option.dataset,
        data_dir=option.data_dir,
        device_choice=option.device,
        order_seed=_order_seed(config),
        asked=frozenset(p.name for p in option.precision) if option.precision else None,
    )
    if config.pluginmanager.hasplugin("benchmark"):
        # A collection of garbage in the middle of a training is noise, not cost.
        option.benchmark_disable_gc = True
    # TensorFlow reports at length that there is no GPU; where NVML knows none, that is no news.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if query_gpus() else "3")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Gives pytest-xdist's workers the order of this process; they have to agree on one."""
    node.workerinput["order_seed"] = node.config.stash[SESSION].order_seed


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Says what benchmarks would train, and on which data."""
    session = config.stash[SESSION]
    training = session.config
    return [
        f"cnnprec {cnnprec.__version__}: profile {training.profile}, "
        f"{training.train_samples} images x {training.epochs} epochs x {training.runs} runs, "
        f"batch {training.batch_size}, device {session.device_choice}, jit {training.jit}, "
        f"order seed {session.order_seed}",
        f"precisions: {format_precisions(session.precisions)}",
        f"dataset: {_dataset_announcement(session)}",
        *_predictions(session),
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Gives a benchmark that asks for ``precision`` one item for each precision chosen."""
    if {"precision", "prepared"} <= set(metafunc.fixturenames):
        metafunc.parametrize("precision", metafunc.config.stash[SESSION].precisions, ids=str)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shuffles the benchmarks among their places.

    A fixed order would give every precision the same place in the machine's warming-up and
    the process's ageing, in every session.
    """
    places = [place for place, item in enumerate(items) if _is_benchmark(item)]
    shuffled = [items[place] for place in places]
    random.Random(config.stash[SESSION].order_seed).shuffle(shuffled)  # noqa: S311
    for place, item in zip(places, shuffled, strict=True):
        items[place] = item


@pytest.hookimpl(wrapper=True)
def pytest_collection_finish(session: pytest.Session) -> Iterator[None]:
    """Checks all that can be checked before the first training: device, precisions, data.

    A wrapper, so that the hooks of the baselines, which need what it prepares, run after it.
    """
    config = session.config
    if (
        not config.option.collectonly
        and not hasattr(config, "workerinput")
        and any("prepared" in getattr(item, "fixturenames", ()) for item in session.items)
    ):
        with _quiet(config):
            try:
                config.stash[SESSION].prepared = _prepare(config.stash[SESSION])
            except ValueError as error:
                raise pytest.UsageError(str(error)) from error
    yield


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Says which data and device the benchmarks really use."""
    prepared = config.stash[SESSION].prepared
    if prepared is None:
        return []
    dataset, machine = prepared.dataset, prepared.environment
    return [
        f"cnnprec: data {dataset.name} from {dataset.source}, SHA-256 {dataset.digest[:12]}; "
        f"device {machine.device_model}, TensorFlow {machine.tensorflow}"
    ]


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(
    terminalreporter: TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    """Prints RESULTS, also of a session that was interrupted."""
    session = config.stash[SESSION]
    if not session.records:
        return
    terminalreporter.section("RESULTS")
    for line in results(session.records.values()):
        terminalreporter.write_line(line)
    if exitstatus == pytest.ExitCode.INTERRUPTED:
        missing = [p.name for p in session.precisions if p.name not in session.records]
        terminalreporter.write_line(
            "Interrupted: nothing was saved"
            + (f"; not measured: {', '.join(missing)}" if missing else "")
            + "."
        )


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Adds what belongs to the session as a whole to pytest-benchmark's JSON."""
    session = config.stash[SESSION]
    if session.prepared is not None:
        output_json["cnnprec"] = {
            "version": cnnprec.__version__,
            "order_seed": session.order_seed,
            "environment": dataclasses.asdict(session.prepared.environment),
        }


@pytest.fixture(scope="session")
def suite(pytestconfig: pytest.Config) -> Session:
    """The session's settings, and its records: benchmarks add theirs."""
    return pytestconfig.stash[SESSION]


@pytest.fixture(scope="session")
def prepared(suite: Session) -> Prepared:
    """The verified data and the environment. Asking for it makes a test a timed one."""
    if suite.prepared is None:
        pytest.fail(
            "Benchmarks need the machine for themselves: run them without pytest-xdist's -n.",
            pytrace=False,
        )
    return suite.prepared


@pytest.fixture(scope="session")
def show_progress(pytestconfig: pytest.Config) -> Callable[[Progress | None], None] | None:
    """Shows a progress line on the terminal, or wipes it (None). None in a log file."""
    reporter = pytestconfig.pluginmanager.getplugin("terminalreporter")
    if reporter is None or not reporter.isatty:
        return None
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def show(progress: Progress | None) -> None:
        released = capture.global_and_fixture_disabled() if capture else contextlib.nullcontext()
        with released:
            reporter.rewrite("" if progress is None else str(progress), erase=True)
            if progress is None:
                reporter.rewrite("")
            reporter.flush()

    return show


def _order_seed(config: pytest.Config) -> int:
    seed: int | None = getattr(config, "workerinput", {}).get(
        "order_seed", config.option.order_seed
    )
    return random.randrange(10**6) if seed is None else seed  # noqa: S311


def _prepare(session: Session) -> Prepared:
    # Imported here because TensorFlow takes seconds to load.
    from cnnprec.device import select_device, supports_tf32
    from cnnprec.environment import describe_environment

    device = select_device(session.device_choice)
    if not supports_tf32() and any(p.tensor_float_32 for p in session.precisions):
        raise DeviceError(
            f"--precision {format_precisions(p for p in session.precisions if p.tensor_float_32)}: "
            f"the device {device} has no TF32 arithmetic; it needs an NVIDIA GPU of compute "
            "capability 8.0 (Ampere) or later"
        )
    return Prepared(session.load(session.config), describe_environment(device))


def _supported_precisions(device: str) -> tuple[Precision, ...]:
    # NVML answers in milliseconds; loading TensorFlow for --collect-only would take seconds.
    gpus = () if device == "cpu" else query_gpus()
    tf32 = any((gpu.compute_capability or (0, 0)) >= (8, 0) for gpu in gpus)
    return tuple(p for p in PRECISIONS.values() if tf32 or not p.tensor_float_32)


def _dataset_announcement(session: Session) -> str:
    if session.dataset_choice == "synthetic":
        return "the SYNTHETIC stand-in, not Fashion-MNIST"
    folder = locate_fashion_mnist(session.data_dir)
    if folder is not None:
        return f"Fashion-MNIST from {folder}"
    last = "the SYNTHETIC stand-in" if session.dataset_choice == "auto" else "an error"
    return f"Fashion-MNIST is not on this machine: download by Keras, and if that fails {last}"


def _predictions(session: Session) -> list[str]:
    """What the static check says of the precisions chosen, one sentence each."""
    return [
        f"{precision.name}: {finding.message}"
        for precision in session.precisions
        for finding in fatal(
            check_precision(
                precision, batch_size=session.config.batch_size, classes=Dataset.classes
            )
        )
    ]


def _is_benchmark(item: pytest.Item) -> bool:
    return {"benchmark", "prepared"} <= set(getattr(item, "fixturenames", ()))


@contextlib.contextmanager
def _quiet(config: pytest.Config) -> Iterator[None]:
    """Captures what TensorFlow prints while it loads, as pytest does during a test."""
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is None or not capture.is_globally_capturing():
        yield
        return
    capture.resume_global_capture()
    try:
        yield
    finally:
        capture.suspend_global_capture()
        capture.read_global_capture()
