"""The fixtures that hold the clock."""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Callable

import pytest

from cnnprec.machine import gpu_index
from cnnprec.nvml import GpuWatch
from cnnprec.precision import Precision
from cnnprec.progress import Progress
from cnnprec.pytest_plugin import Prepared, Session
from cnnprec.record import Outcome, Record, Round

# A terminal cannot be read faster; the line costs up to a millisecond.
_PROGRESS_SECONDS = 0.5


@pytest.fixture
def measure(
    benchmark,
    suite: Session,
    prepared: Prepared,
    show_progress: Callable[[Progress | None], None] | None,
) -> Callable[[Precision], Record]:
    """Times the training of one precision and returns, and keeps, its record."""
    from cnnprec.device import peak_device_memory_bytes, reset_peak_device_memory
    from cnnprec.memory import peak_resident_bytes, reset_peak_resident
    from cnnprec.training import Trainer

    def run(precision: Precision) -> Record:
        config = suite.config
        timed = not benchmark.disabled
        start = time.perf_counter()
        trainer = Trainer(precision, config, prepared.dataset)
        trainer.warm_up()
        warm_up_seconds = time.perf_counter() - start
        record = Record(
            precision=precision,
            config=config,
            data=prepared.data_info,
            environment=prepared.environment,
            jit_compiled=trainer.jit_compiled,
            warm_up_seconds=warm_up_seconds if timed else None,
            rounds=(),
        )
        watch = (
            GpuWatch(gpu_index(suite.device_choice))
            if prepared.environment.device_kind == "gpu"
            else None
        )
        line = _ProgressLine(show_progress, precision, config.runs, config.steps)
        resident_known = False
        clocks: tuple[float, float] = (0.0, 0.0)

        def keep() -> None:
            suite.records[precision.name] = record
            benchmark.extra_info["cnnprec"] = record.to_dict()

        def set_up() -> None:
            nonlocal resident_known
            trainer.reset(config.seed + len(record.rounds))
            gc.collect()
            resident_known = reset_peak_resident()
            reset_peak_device_memory()
            line.start_run(len(record.rounds), config.epochs)
            if watch:
                watch.start()

        def train() -> None:
            nonlocal clocks
            wall, cpu = time.perf_counter(), time.process_time()
            trainer.fit(line.update if show_progress else None)
            clocks = time.perf_counter() - wall, time.process_time() - cpu

        def tear_down() -> None:
            nonlocal record
            state = watch.stop() if watch else None
            device_bytes = peak_device_memory_bytes()
            resident_bytes = peak_resident_bytes() if resident_known else None
            done = Round(
                run=trainer.finish(),
                seconds=clocks[0] if timed else None,
                cpu_seconds=clocks[1] if timed else None,
                peak_memory_bytes=resident_bytes if device_bytes is None else device_bytes,
                state=state,
            )
            record = dataclasses.replace(record, rounds=(*record.rounds, done))
            keep()  # after every run, so that an interrupted session shows what it has

        benchmark.group = "training"
        try:
            benchmark.pedantic(train, setup=set_up, teardown=tear_down, rounds=config.runs)
            if benchmark.disabled:
                tear_down()  # pytest-benchmark leaves it out when it does not time.
        finally:
            line.wipe()
            if watch:
                watch.stop()  # a training that failed has not
        sick = next((r.run for r in record.rounds if r.run.outcome is not Outcome.TRAINED), None)
        if sick is not None and (diagnosis := trainer.diagnose(sick)) is not None:
            record = dataclasses.replace(record, diagnosis=str(diagnosis))
            keep()
        return record

    return run


class _ProgressLine:
    """Turns a trainer's progress into lines for the terminal, not too many of them."""

    def __init__(
        self,
        show: Callable[[Progress | None], None] | None,
        precision: Precision,
        runs: int,
        steps: int,
    ) -> None:
        self._show = show
        self._precision = precision
        self._runs = runs
        self._steps = steps
        self._run = 0
        self._epochs = 0
        self._run_start = 0.0
        self._last_shown = 0.0

    def start_run(self, run: int, epochs: int) -> None:
        self._run = run
        self._epochs = epochs
        self._run_start = time.perf_counter()

    def update(self, epoch: int, steps_done: int, loss: float) -> None:
        now = time.perf_counter()
        if self._show is None or now - self._last_shown < _PROGRESS_SECONDS:
            return
        self._last_shown = now
        self._show(
            Progress(
                precision=self._precision.name,
                run=self._run + 1,
                runs=self._runs,
                epoch=epoch + 1,
                epochs=self._epochs,
                loss=loss,
                seconds_per_step=(now - self._run_start) / steps_done,
                steps_left=self._steps * (self._runs - self._run) - steps_done,
            )
        )

    def wipe(self) -> None:
        if self._show is not None:
            self._show(None)
