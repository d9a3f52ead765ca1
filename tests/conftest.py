"""Fixtures, hypothesis profiles and parallel running of the tests.

Choose a profile with ``--hypothesis-profile=NAME``: ``dev`` (the default), ``ci`` (the same
examples every time), ``thorough`` (1,000 examples of every property).
"""

import functools
import gc
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from cnnprec.machine.cpu import usable_cores
from cnnprec.workload.dataset import Dataset
from cnnprec.workload.load_dataset import load_dataset
from cnnprec.workload.profiles import TrainingConfig

_HERE = Path(__file__).parent

# They run first, so that what is left at the end is short and both processes end together.
LONGEST = (
    "pytest_plugin/test_whole_measurement.py",
    "pytest_plugin/test_benchmarks.py",
    "training/test_trainer.py",
    "measurement/test_measure.py",
    "training/test_determinism.py",
    "diagnosis/test_replay.py",
    "pytest_plugin/test_verdicts.py",
    "numerics/test_run_probes.py",
    "test_evidence.py",
    "training/test_loss_scale.py",
    "test_docs.py",
    "training/test_remedies.py",
    "test_layers.py",
)

# A fifth of the time of importing and collecting; `pytest_collection_finish` takes it back.
gc.disable()

# No deadlines: this runs on shared machines, where a pause of a second proves nothing.
_COMMON = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", _COMMON, max_examples=30)
settings.register_profile("ci", _COMMON, max_examples=30, derandomize=True)
settings.register_profile("thorough", _COMMON, max_examples=1000)
settings.load_profile("dev")


def is_worker(config: pytest.Config) -> bool:
    """Whether this is one of the processes that pytest-xdist started."""
    return hasattr(config, "workerinput") or "PYTEST_XDIST_WORKER" in os.environ


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist, which reads these options in this hook
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Runs the whole suite in two processes, where pytest-xdist is there and two cores are.

    Most of the tests' time is Python tracing TensorFlow's graphs, which is one thread's work.
    A file of tests, or ``-n 0``, runs in this process.
    """
    option = config.option
    whole = config.args_source is not pytest.Config.ArgsSource.ARGS
    if (
        whole
        and not is_worker(config)  # which would start workers of its own, and they theirs
        and getattr(option, "numprocesses", 0) is None
        and not (option.usepdb or option.collectonly or getattr(option, "benchmark_compare", []))
        and usable_cores() > 1
    ):
        option.numprocesses = 2
        option.dist = "loadscope"  # what a file's fixtures have built serves all of the file
        option.loadscopereorder = False  # by the number of tests, which says little of the time


@pytest.fixture
def usual_signals() -> Iterator[None]:
    """Takes back what nohup and a shell's ``&`` do: children inherit that a signal is ignored."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    ignored = [number for number in usual if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, usual[number])
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(scope="session")
def tiny() -> TrainingConfig:
    """A training of a second: 2 epochs of 10 steps."""
    return TrainingConfig(
        "tiny", train_samples=80, test_samples=100, epochs=2, runs=1, batch_size=8
    )


@pytest.fixture(scope="session")
def tiny_data(tiny: TrainingConfig) -> Dataset:
    """Synthetic images, as many as `tiny` asks for."""
    return load_dataset(
        "synthetic", train_samples=tiny.train_samples, test_samples=tiny.test_samples
    )


@pytest.fixture(scope="session")
def model_of() -> Callable[[str], Any]:
    """The model of a precision as `build_model` builds it: to be looked at, not to be changed."""
    from cnnprec.training.model import build_model  # loads TensorFlow, which few tests need

    return functools.cache(build_model)


def pytest_collection_finish() -> None:
    """Lets the garbage collector work again, but not on what stays to the end.

    That is TensorFlow and all the tests. Measuring collects before every run, and a session of
    pytest five times at its end. Each time it took half a second to look at the million objects
    that are there before the first test.
    """
    gc.enable()
    _pass_over_what_is_there()


@pytest.fixture(autouse=True)
def _no_width(monkeypatch) -> None:
    """Processes of pytest-xdist may say a width, which tables then fit."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(scope="module", autouse=True)
def _pass_over_what_a_file_leaves() -> Iterator[None]:
    yield
    _pass_over_what_is_there()


def _pass_over_what_is_there() -> None:
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Makes every warning in these tests an error, and puts the longest files first.

    Benchmarks only report their warnings.
    """
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.filterwarnings("error"), append=False)
    places = {_HERE / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))
