"""The fixtures that hold the clock."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import gc
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from cnnprec.config import TrainingConfig
from cnnprec.machine import gpu_index
from cnnprec.memory import peak_resident_bytes, reset_peak_resident, without_collection
from cnnprec.nvml import GpuWatch
from cnnprec.precision import Precision
from cnnprec.progress import Progress
from cnnprec.pytest_plugin import Prepared, Session
from cnnprec.record import Outcome, Record, Round

if TYPE_CHECKING:
    from cnnprec.training import Trainer

# A terminal cannot be read faster; the line costs up to a millisecond.
_PROGRESS_SECONDS = 0.5

# Starts and ends of runs that were timed already, for pytest-benchmark to read again.
_to_replay: collections.deque[float] = collections.deque()


def _clock() -> float:
    return _to_replay.popleft() if _to_replay else time.perf_counter()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Has pytest-benchmark read the times that the turns took, in place of its own clock."""
    for item in items:
        if "measure" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.benchmark(group="training", timer=_clock))


@pytest.fixture(scope="session")
def turns(
    request: pytest.FixtureRequest,
    suite: Session,
    prepared: Prepared,
    show_progress: Callable[[Progress | None], None] | None,
) -> _Turns:
    """The trainings of all selected precisions."""
    precisions = [
        item.callspec.params["precision"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and "measure" in item.fixturenames
    ]
    return _Turns(precisions, suite, prepared, show_progress)


@pytest.fixture
def measure(benchmark, turns: _Turns) -> Callable[[Precision], Record]:
    """Gives the record of one precision, with its times, to pytest-benchmark.

    The first benchmark of the session trains all of them, by turns.
    """

    def run(precision: Precision) -> Record:
        series = turns.take(precision, timed=not benchmark.disabled)
        benchmark.extra_info["cnnprec"] = series.record.to_dict()

        def replay() -> None:
            if series.error is not None:
                raise series.error

        _to_replay.extend(series.clock)
        try:
            benchmark.pedantic(replay, rounds=max(1, len(series.record.rounds)))
        finally:
            _to_replay.clear()
        return series.record

    return run


@dataclasses.dataclass
class _Series:
    """The runs of one precision.

    Attributes:
        precision: Which.
        record: What is known so far.
        trainer: The model; None before it is built and after the record is whole.
        clock: Start and end of each run.
        error: What stopped it.
    """

    precision: Precision
    record: Record
    trainer: Trainer | None = None
    clock: list[float] = dataclasses.field(default_factory=list)
    error: Exception | None = None


class _Turns:
    """Trains every precision once, then every precision a second time, and so on.

    What disturbs a machine lasts for seconds: a neighbour of a virtual machine, a job of the
    system. Run after run of one precision it hits all of them, so that they agree on a wrong
    time. By turns it hits one run of each, and the runs tell.
    """

    def __init__(
        self,
        precisions: list[Precision],
        suite: Session,
        prepared: Prepared,
        show_progress: Callable[[Progress | None], None] | None,
    ) -> None:
        self._precisions = precisions
        self._suite = suite
        self._prepared = prepared
        self._line = _ProgressLine(show_progress, suite.config)
        self._series: dict[str, _Series] = {}

    def take(self, precision: Precision, *, timed: bool) -> _Series:
        """The series of one precision; trains all of them if that has not been done."""
        if not self._series:
            try:
                self._train(timed=timed)
            finally:
                self._line.wipe()
        series = self._series[precision.name]
        if series.trainer is not None and series.error is None:
            with _kept(series):
                self._diagnose(series, series.trainer)
        series.trainer = None
        return series

    def _train(self, *, timed: bool) -> None:
        for precision in self._precisions:
            series = self._series[precision.name] = self._start(precision)
            with _kept(series):
                self._warm_up(series, timed=timed)
        # Where nothing is timed, one run shows that it works.
        runs = self._suite.config.runs if timed else 1
        for run in range(runs):
            for series in self._series.values():
                if series.trainer is not None and series.error is None:
                    self._line.start_run(
                        series.precision, run, runs=runs, precisions=len(self._series)
                    )
                    with _kept(series):
                        self._run(series, series.trainer, timed=timed)

    def _start(self, precision: Precision) -> _Series:
        record = Record(
            precision=precision,
            config=self._suite.config,
            data=self._prepared.data_info,
            environment=self._prepared.environment,
            jit_compiled=False,
            warm_up_seconds=None,
            rounds=(),
        )
        return _Series(precision, record)

    def _warm_up(self, series: _Series, *, timed: bool) -> None:
        from cnnprec.training import Trainer

        start = time.perf_counter()
        trainer = Trainer(series.precision, self._suite.config, self._prepared.dataset)
        trainer.warm_up()
        seconds = time.perf_counter() - start
        series.trainer = trainer
        series.record = dataclasses.replace(
            series.record,
            jit_compiled=trainer.jit_compiled,
            warm_up_seconds=seconds if timed else None,
        )

    def _run(self, series: _Series, trainer: Trainer, *, timed: bool) -> None:
        from cnnprec.device import peak_device_memory_bytes, reset_peak_device_memory

        trainer.reset(self._suite.config.seed + len(series.record.rounds))
        gc.collect()
        resident_known = reset_peak_resident()
        reset_peak_device_memory()
        with _watched(self._prepared, self._suite) as watch, without_collection():
            start, cpu_start = time.perf_counter(), time.process_time()
            trainer.fit(self._line.update if self._line.shown else None)
            cpu_end, end = time.process_time(), time.perf_counter()
            state = watch.stop() if watch else None
        device_bytes = peak_device_memory_bytes()
        resident_bytes = peak_resident_bytes() if resident_known else None
        done = Round(
            run=trainer.finish(),
            seconds=end - start if timed else None,
            cpu_seconds=cpu_end - cpu_start if timed else None,
            peak_memory_bytes=resident_bytes if device_bytes is None else device_bytes,
            state=state,
        )
        series.clock += [start, end]
        self._keep(series, rounds=(*series.record.rounds, done))

    def _diagnose(self, series: _Series, trainer: Trainer) -> None:
        runs = [entry.run for entry in series.record.rounds]
        sick = next((run for run in runs if run.outcome is not Outcome.TRAINED), None)
        if sick is not None and (diagnosis := trainer.diagnose(sick)) is not None:
            self._keep(series, diagnosis=str(diagnosis))

    def _keep(self, series: _Series, **changes: object) -> None:
        """Changes the record; after every run, so that an interrupted session shows what it has."""
        series.record = dataclasses.replace(series.record, **changes)
        self._suite.records[series.precision.name] = series.record


@contextlib.contextmanager
def _kept(series: _Series) -> Iterator[None]:
    """Keeps what goes wrong for the test of this precision; the others go on."""
    try:
        yield
    except Exception as error:
        series.error = error


@contextlib.contextmanager
def _watched(prepared: Prepared, suite: Session) -> Iterator[GpuWatch | None]:
    if prepared.environment.device_kind != "gpu":
        yield None
        return
    watch = GpuWatch(gpu_index(suite.device_choice))
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()  # a training that failed has not


class _ProgressLine:
    """Turns a trainer's progress into lines for the terminal, not too many of them."""

    def __init__(
        self, show: Callable[[Progress | None], None] | None, config: TrainingConfig
    ) -> None:
        self._show = show
        self._config = config
        self._precision = ""
        self._run = 0
        self._runs = 0
        self._steps = 0
        # Of the runs before this one, and of this one.
        self._before = (0, 0.0)
        self._now = (0, 0.0)
        self._start = 0.0
        self._last_shown = 0.0

    @property
    def shown(self) -> bool:
        """Whether anybody sees it."""
        return self._show is not None

    def start_run(self, precision: Precision, run: int, *, runs: int, precisions: int) -> None:
        self._precision = precision.name
        self._run = run
        self._runs = runs
        self._steps = self._config.steps * runs * precisions
        self._before = self._so_far()
        self._now = (0, 0.0)
        self._start = time.perf_counter()

    def update(self, epoch: int, steps_done: int, loss: float) -> None:
        now = time.perf_counter()
        self._now = (steps_done, now - self._start)
        if self._show is None or now - self._last_shown < _PROGRESS_SECONDS:
            return
        self._last_shown = now
        steps, seconds = self._so_far()
        self._show(
            Progress(
                precision=self._precision,
                run=self._run + 1,
                runs=self._runs,
                epoch=epoch + 1,
                epochs=self._config.epochs,
                loss=loss,
                seconds_per_step=seconds / steps,
                steps_left=self._steps - steps,
            )
        )

    def wipe(self) -> None:
        if self._show is not None:
            self._show(None)

    def _so_far(self) -> tuple[int, float]:
        """Steps trained, and the seconds that they took."""
        return self._before[0] + self._now[0], self._before[1] + self._now[1]
