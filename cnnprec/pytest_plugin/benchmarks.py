"""The benchmarks: their items, their order, their fixtures."""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from cnnprec.machine.gpu import query_gpus
from cnnprec.machine.names import WorkerLostError, gpu_index
from cnnprec.measurement.watchdog import Watchdog
from cnnprec.precision.precisions import Precision
from cnnprec.pytest_plugin import unfinished
from cnnprec.pytest_plugin.saving import benchmark_session
from cnnprec.pytest_plugin.session import (
    ASKED,
    BENCHMARK,
    EACH,
    MARKS,
    SESSION,
    SOAK,
    Session,
    is_benchmark,
    selected,
    usage_errors,
)
from cnnprec.records.record import Record
from cnnprec.text import count_of

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from cnnprec.measurement.prepare import Prepared
    from cnnprec.measurement.progress import Show
    from cnnprec.measurement.session import MeasuredSession, Series

_TIMES = pytest.StashKey[Iterator[float]]()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Gives a test of each precision one item for each precision chosen."""
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    if "precision" in metafunc.fixturenames and marks & MARKS.keys():
        metafunc.parametrize("precision", metafunc.config.stash[SESSION].precisions, ids=str)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shuffles the benchmarks among their places, and has them read the times of the turns."""

    def replay() -> float:
        """The clock that pytest-benchmark reads: the times that the turns took, and no other."""
        for moment in config.stash[_TIMES]:
            return moment
        raise RuntimeError(
            "pytest-benchmark asked for more times than the turns took: time a precision with the "
            "fixture `measure` and nothing else in the same test"
        )

    config.stash[_TIMES] = iter(())
    if any(map(is_benchmark, items)) and config.getoption("benchmark_cprofile", None):
        raise pytest.UsageError(
            "--benchmark-cprofile: the benchmarks read times that were taken before, so there is "
            "nothing to profile. Leave it out; python -m cProfile -m pytest profiles the session."
        )
    if hasattr(config, "workerinput"):  # one error says for all that they cannot run here
        needing = MARKS.keys() - {EACH}
        marked = [item for item in items if any(map(item.get_closest_marker, needing))]
        dropped = sorted(marked, key=is_benchmark)[:-1]
        items[:] = [item for item in items if item not in dropped]
    places = [place for place, item in enumerate(items) if is_benchmark(item)]
    shuffled = [items[place] for place in places]
    random.Random(config.stash[SESSION].order_seed).shuffle(shuffled)  # noqa: S311
    for place, item in zip(places, shuffled, strict=True):
        items[place] = item
        item.add_marker(pytest.mark.benchmark(group="training", timer=replay))


@pytest.hookimpl(wrapper=True)
def pytest_collection_finish(session: pytest.Session) -> Iterator[None]:
    """Checks device, precisions and data before the first training and before the verdicts."""
    config = session.config
    timed = [item for item in session.items if "benchmark" in getattr(item, "fixturenames", ())]
    unasked = config.option.verbose < 1 and config.getoption("benchmark_columns", None) is None
    if unasked and all(map(is_benchmark, timed)) and (others := benchmark_session(config)):
        # The turns of two precisions have different numbers of steps, so a table would mislead.
        others.quiet = True
    listing = config.option.collectonly or hasattr(config, "workerinput")
    if any(map(is_benchmark, session.items)) and not listing:
        show = _progress(config) or (lambda _: None)
        show("loading TensorFlow and the images")
        with usage_errors(), _quiet(config):
            unfinished.prepare_words(config)
            unfinished.say(config, unfinished.last_text(config))
            config.stash[SESSION].prepare()
        show(None)
    yield


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Says which data and device the benchmarks really use."""
    suite = config.stash[SESSION]
    if (prepared := suite.prepared) is None:
        return []
    dataset, machine = prepared.dataset, prepared.environment
    lines = [
        f"cnnprec: data {dataset.name} from {dataset.source}, SHA-256 {dataset.digest[:12]}; "
        f"device {machine.device_model}, TensorFlow {machine.tensorflow}"
    ]
    gpus = query_gpus()[gpu_index(suite.device_choice) :] if machine.device_kind == "gpu" else ()
    if gpus and gpus[0].other_processes:
        others = count_of(gpus[0].other_processes, "other program")
        lines.append(f"cnnprec: DISTURBED: {others} on this GPU (nvidia-smi); stop them first")
    return lines


@pytest.fixture(scope="session")
def suite(pytestconfig: pytest.Config) -> Session:
    """The session's settings, and its records."""
    return pytestconfig.stash[SESSION]


@pytest.fixture(scope="session")
def prepared(suite: Session, pytestconfig: pytest.Config) -> Prepared:
    """The device, set up, and the verified images."""
    if hasattr(pytestconfig, "workerinput"):
        pytest.fail(
            "Benchmarks need the machine for themselves: run them without pytest-xdist's -n.",
            pytrace=False,
        )
    return suite.prepare()


@pytest.fixture(scope="session")
def measured_session(
    request: pytest.FixtureRequest, suite: Session, prepared: Prepared
) -> MeasuredSession:
    """The trainings of all precisions whose benchmarks were selected."""
    from cnnprec.measurement.session import MeasuredSession

    config = request.config
    baseline = config.stash[ASKED].selection
    saved = baseline.sessions[-1].records if baseline else {}
    return MeasuredSession(
        selected(request.session.items),
        suite.config,
        prepared,
        order_seed=suite.order_seed,
        on_record=unfinished.keep(config),
        numerics=suite.numerics,
        limits=suite.limits,
        compiled={name: record.jit_compiled for name, record in saved.items()},
        **_watching(config),
    )


@pytest.fixture
def measure(
    request: pytest.FixtureRequest, benchmark: BenchmarkFixture, measured_session: MeasuredSession
) -> Callable[[Precision], Record]:
    """Gives the record of one precision to pytest-benchmark; the first call trains them all."""
    if not is_benchmark(request.node):
        pytest.fail(
            f"a test that takes `measure` is a benchmark: mark it with @pytest.mark.{BENCHMARK}",
            pytrace=False,
        )

    def run(precision: Precision) -> Record:
        timed = not benchmark.disabled
        series = measured_session.take(precision, timed=timed)
        if isinstance(series.error, WorkerLostError):
            request.config.stash[ASKED].problems.append(f"WORKER LOST: {series.error}")
        record = series.record
        benchmark.extra_info["cnnprec"] = record.to_dict()
        times = record.rounds if record.turns is None else record.turns.seconds
        request.config.stash[_TIMES] = iter(series.clock)
        # What went wrong is raised by the setup, before a time is asked for.
        benchmark.pedantic(  # type: ignore[no-untyped-call]
            lambda: None, setup=lambda: _raise(benchmark, series), rounds=max(1, len(times))
        )
        if timed:
            stats: Any = benchmark.stats
            rounds, wanted = stats.stats.rounds, record.config.turns or record.config.runs
            if not rounds == len(times) == wanted:
                counts = f"{rounds} rounds in pytest-benchmark and {len(times)} in the record"
                pytest.fail(f"{precision}: {counts}, {wanted} were asked for")
        return record

    return run


@pytest.fixture
def soak(
    request: pytest.FixtureRequest, suite: Session, prepared: Prepared
) -> Callable[[Precision], None]:
    """Fails a test where a precision does not repeat its bits for its share of ``--soak``."""
    from cnnprec.measurement.soak import Soak

    def run(precision: Precision) -> None:
        config = request.config
        sharing = [item for item in request.session.items if item.get_closest_marker(SOAK)]
        suite.soaks.append(found := Soak(precision))
        seconds = config.option.soak / len(sharing)
        found.run(suite.config, prepared, seconds, **_watching(config))
        if found.wrong:
            pytest.fail(found.wrong, pytrace=False)

    return run


def _watching(config: pytest.Config) -> dict[str, Any]:
    """What shows how far a measurement is, ends one that hangs, and the GPU that is watched."""
    on_hang = None if config.option.usepdb else functools.partial(unfinished.end_hung, config)
    gpu = gpu_index(config.option.device)
    return {"show": _progress(config), "watchdog": Watchdog(on_hang), "gpu": gpu}


def _raise(benchmark: BenchmarkFixture, series: Series) -> None:
    if series.error is None:
        return
    benchmark.has_error = True  # pytest-benchmark sets it for an Exception alone
    if isinstance(series.error, pytest.skip.Exception):
        pytest.fail(f"{series.precision} was not measured; its training skipped: {series.error}")
    raise series.error


def _progress(config: pytest.Config) -> Show | None:
    """Shows a progress line on the terminal, or wipes it (None). None in a log file."""
    reporter = config.pluginmanager.getplugin("terminalreporter")
    if reporter is None or not reporter.isatty:
        return None

    def show(progress: str | None) -> None:
        with unfinished.uncaptured(config):
            reporter.rewrite(progress or "", erase=True)
            if progress is None:
                reporter.rewrite("")
            reporter.flush()

    return show


@contextlib.contextmanager
def _quiet(config: pytest.Config) -> Iterator[None]:
    """Captures what TensorFlow prints while it loads, as pytest does during a test."""
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    capture.resume_global_capture()
    try:
        yield
    finally:
        capture.suspend_global_capture()
        capture.read_global_capture()
