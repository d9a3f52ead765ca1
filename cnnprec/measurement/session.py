"""One session: whole seeded runs of every precision, and then timed turns.

The runs show what is learned: every precision once, then every precision a second time, and so on,
because a disturbance of the machine lasts for seconds. The turns show the speed.
"""

import contextlib
import dataclasses
import functools
import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from cnnprec.diagnosis.causes import diagnose_run
from cnnprec.machine.energy import EnergyMeter, package_energy
from cnnprec.machine.gpu_state import GPU_CYCLE
from cnnprec.machine.gpu_watch import GpuWatch
from cnnprec.machine.memory import peak_resident_bytes, reset_peak_resident, without_collection
from cnnprec.measurement.choose_jit import trainer_for
from cnnprec.measurement.limits import examine_limits
from cnnprec.measurement.prepare import Prepared
from cnnprec.measurement.probing import examine
from cnnprec.measurement.progress import ProgressLine, Show
from cnnprec.measurement.turns import ALONE, Timing, steps_for
from cnnprec.measurement.watchdog import Watchdog, usual_seconds
from cnnprec.precision.precisions import Precision
from cnnprec.records.record import Outcome, Record, Round, Turns
from cnnprec.training.device import peak_device_memory_bytes, reset_peak_device_memory
from cnnprec.training.replicas import ReplicaTrainer
from cnnprec.training.strategy import agreed, explained
from cnnprec.training.trainer import Trainer
from cnnprec.workload.profiles import TrainingConfig


class NotMeasuredError(RuntimeError):
    """A precision was not measured because something else ended the session's turns."""


@dataclasses.dataclass
class Series:
    """The runs of one precision: what is known so far, and the error that stopped them.

    `trainer` is None before it is built and after the record is whole. `clock` has start and end
    of each timed run, in seconds of `time.perf_counter`.
    """

    precision: Precision
    record: Record
    trainer: Trainer | None = None
    clock: list[float] = dataclasses.field(default_factory=list)
    error: BaseException | None = None


class MeasuredSession:
    """Trains the precisions of one session and times them.

    An exception belongs to the precision in whose training it was raised; the others go on. With
    workers on several hosts, or if it is no `Exception`, such as a timeout of the test runner, it
    ends the turns as well.

    Args:
        precisions: What to train, in this order in every turn.
        config, prepared: How much to train, on which device and images.
        order_seed: Of the orders inside the turns.
        gpu: Index of the GPU to watch, where one is used.
        on_record: Called with a record whenever it grew, to show it after an interruption.
        show: Shows a progress line, or wipes it (None).
        watchdog: Ends a session that hangs; None to wait for ever.
        numerics: How much of the numbers is probed when all is timed, one of
            `cnnprec.measurement.supported.LEVELS`.
        limits: Whether the limits of the device are measured when all is timed.
        compiled: Whether XLA compiles a precision, where ``--jit best`` need not choose.
        diagnosed: Whether runs that did not train are replayed to find out why.
    """

    def __init__(
        self,
        precisions: Sequence[Precision],
        config: TrainingConfig,
        prepared: Prepared,
        *,
        order_seed: int = 0,
        gpu: int = 0,
        on_record: Callable[[Record], None] | None = None,
        show: Show | None = None,
        watchdog: Watchdog | None = None,
        numerics: str = "off",
        limits: bool = False,
        compiled: Mapping[str, bool] | None = None,
        diagnosed: bool = True,
    ) -> None:
        self._diagnosed = diagnosed
        self._numerics = numerics
        self._limits = limits
        self._compiled = compiled or {}
        self._precisions = precisions
        self._config = config
        self._prepared = prepared
        self._order_seed = order_seed
        self._gpu = gpu
        self._on_record = on_record
        self._line = ProgressLine(show, config)
        self._series: dict[str, Series] = {}
        self._runs = 0
        self._turns = 0
        self._ended_by: Series | None = None
        self._stages = {"loading": prepared.seconds} if prepared.seconds else {}
        self._watchdog = watchdog or Watchdog(None)

    def take(self, precision: Precision, *, timed: bool = True) -> Series:
        """The series of one precision, diagnosed; the first call trains all of them.

        Where clocks are not read (`timed`), one run shows that it works. The `error` of the series
        says why it has not all its runs, where it has not.
        """
        if not self._series:
            self._runs = self._config.runs if timed else 1
            self._turns = self._config.turns if timed else 0
            try:
                with self._watchdog:
                    self._train(timed=timed)
            finally:
                self._line.wipe()
        series = self._series[precision.name]
        if series.error is None and not series.record.has(self._runs, self._turns):
            series.error = self._not_measured(series)
        if series.trainer is not None and series.error is None:
            with self._stage("numbers"), self._kept(series):
                self._line.say(f"{series.precision}: looking at its numbers")
                alone = series.trainer.alone or series.trainer
                self._diagnose(series, alone)
                if self._numerics != "off":
                    found = examine(series.trainer, self._numerics)
                    self._keep(dataclasses.replace(series.record, numerics=found), series)
                if self._limits and timed:
                    limits = examine_limits(alone)
                    self._keep(dataclasses.replace(series.record, limits=limits), series)
            if timed:
                stages = tuple(self._stages.items())
                self._keep(dataclasses.replace(series.record, stages=stages), series)
            self._line.wipe()
        series.trainer = None
        return series

    def _train(self, *, timed: bool) -> None:
        for precision in self._precisions:
            self._series[precision.name] = self._start(precision)
        for series in self._series.values():
            both = ", with XLA and without" if self._config.jit == "best" else ""
            self._line.say(f"{series.precision}: building the model and warming up{both}")
            with self._stage("warm-up"), self._kept(series):
                self._warm_up(series, timed=timed)
            if self._ended_by is not None:
                return
        for run in range(self._runs):
            for series in self._series.values():
                if series.trainer is None or series.error is not None:
                    continue
                self._line.start_run(
                    series.precision, run, runs=self._runs, precisions=len(self._series)
                )
                with self._stage("runs"), self._kept(series):
                    self._run(series, series.trainer, timed=timed)
                if self._ended_by is not None:
                    return
        if self._turns:
            with self._stage("turns"), self._kept(next(iter(self._series.values()))):
                self._time()

    def _time(self) -> None:
        """Times the precisions whose runs are whole, by turns."""
        able = {
            name: series
            for name, series in self._series.items()
            if series.trainer is not None and series.error is None
        }
        steps = {name: round(self._agree(_steps(series.record))) for name, series in able.items()}
        workers = {}
        for name, series in able.items():
            with self._kept(series):
                assert series.trainer is not None  # noqa: S101 - chosen so above
                for own, trainer in ((name, series.trainer), (name + ALONE, series.trainer.alone)):
                    if trainer is not None:
                        trainer.start_turns()
                        workers[own] = functools.partial(self._take, series, trainer, steps[name])
        timing = Timing(workers, self._order_seed)
        gc.collect()
        with self._watched() as watch, without_collection():
            with self._watchdog.over("the warm-up of the turns"):
                timing.warm(self._agree)
            began = time.perf_counter()
            took = 0.0
            for turn in range(self._turns):
                with self._watchdog.over("a turn", [took / turn] if turn else []):
                    timing.take()
                if watch and (clock := watch.sm_clock_mhz()):
                    timing.note(GPU_CYCLE, 1e-6 / clock)
                for name in [n for n in timing.clock if able[n.removesuffix(ALONE)].error]:
                    timing.drop(name)
                if self._ended_by is not None:
                    return
                took = time.perf_counter() - began
                self._line.show_turn(turn + 1, self._turns, took)
            state = watch.stop() if watch else None
        for name in [n for n in able if n in timing.clock]:
            series = able[name]
            series.clock = [moment for pair in timing.clock[name] for moment in pair]
            turns = Turns(
                steps=steps[name],
                seconds=timing.seconds(name),
                calibrators=timing.calibrators(),
                warm_up=timing.warm_up,
                steady=timing.steady,
                state=state,
                one_device_seconds=timing.seconds(name + ALONE),
            )
            self._keep(dataclasses.replace(series.record, turns=turns), series)

    def _take(self, series: Series, trainer: Trainer, steps: int) -> None:
        if self._ended_by is None:
            with self._kept(series):
                trainer.take(steps)

    def _agree(self, number: float) -> float:
        """The mean over all workers; of this one alone once it is no longer in step with them."""
        return number if self._ended_by else agreed(self._prepared.strategy, number)

    def _start(self, precision: Precision) -> Series:
        data, environment = self._prepared.data_info, self._prepared.environment
        record = Record.blank(precision, self._precisions, self._config, data, environment)
        return Series(precision, record)

    def _warm_up(self, series: Series, *, timed: bool) -> None:
        start, data = time.perf_counter(), self._prepared.dataset
        with self._watchdog.over(f"the warm-up of {series.precision}"):
            trainer = trainer_for(series.precision, self._config, data, self._compiled, timed=timed)
            if self._prepared.strategy is not None:
                trainer = ReplicaTrainer(trainer, data, self._prepared.strategy)
                trainer.warm_up()
        seconds = time.perf_counter() - start
        series.trainer = trainer
        series.record = dataclasses.replace(
            series.record,
            jit_compiled=trainer.jit_compiled,
            warm_up_seconds=seconds if timed else None,
        )

    def _run(self, series: Series, trainer: Trainer, *, timed: bool) -> None:
        trainer.reset(self._config.seed + len(series.record.rounds))
        gc.collect()
        resident_known = reset_peak_resident()
        reset_peak_device_memory()
        with self._watched() as watch, without_collection():
            energy = EnergyMeter(watch.energy if watch else package_energy)
            start, cpu_start = time.perf_counter(), time.process_time()
            with self._watchdog.over(f"a run of {series.precision}", usual_seconds(series.record)):
                trainer.fit(self._line.update if self._line.shown else None)
            cpu_end, end = time.process_time(), time.perf_counter()
            joules = energy.joules(end - start)
            state = watch.stop() if watch else None
        device_bytes = peak_device_memory_bytes()
        resident_bytes = peak_resident_bytes() if resident_known else None
        with self._watchdog.over(f"the test of {series.precision}"):
            run = trainer.finish()
        done = Round(
            run=run,
            seconds=end - start if timed else None,
            cpu_seconds=cpu_end - cpu_start if timed else None,
            peak_memory_bytes=(resident_bytes if device_bytes is None else device_bytes) or None,
            state=state,
            joules=joules if timed else None,
        )
        if timed:
            series.clock += [start, end]
        self._keep(dataclasses.replace(series.record, rounds=(*series.record.rounds, done)), series)

    def _diagnose(self, series: Series, trainer: Trainer) -> None:
        runs = [entry.run for entry in series.record.rounds]
        sick = next((run for run in runs if run.outcome is not Outcome.TRAINED), None)
        diagnosis = None if sick is None or not self._diagnosed else diagnose_run(trainer, sick)
        if diagnosis is not None:
            self._keep(dataclasses.replace(series.record, diagnosis=diagnosis), series)

    def _keep(self, record: Record, series: Series) -> None:
        series.record = record
        if self._on_record is not None:
            self._on_record(record)

    @contextlib.contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        """Adds the time of the block to a stage of the session."""
        start = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - start
            self._stages[name] = self._stages.get(name, 0.0) + took

    @contextlib.contextmanager
    def _kept(self, series: Series) -> Iterator[None]:
        """Keeps what goes wrong for the one who asks for this series."""
        try:
            yield
        except KeyboardInterrupt:
            raise
        except Exception as error:
            series.error = error
            if self._config.strategy == "multiworker":  # the others are no longer in step with this
                series.error, self._ended_by = explained(error), series
        except BaseException as error:
            series.error = error
            self._ended_by = series

    def _not_measured(self, series: Series) -> NotMeasuredError:
        ended = self._ended_by
        why = (
            "the session was interrupted"
            if ended is None
            else f"{type(ended.error).__name__} while {ended.precision} was trained: {ended.error}"
        )
        return NotMeasuredError(
            f"{series.precision}: {len(series.record.rounds)} of {self._runs} runs were measured"
            + (f" and not all of {self._turns} turns" if self._turns else "")
            + f", then the session ended ({why}). Measure again."
        )

    @contextlib.contextmanager
    def _watched(self) -> Iterator[GpuWatch | None]:
        if self._prepared.environment.device_kind != "gpu":
            yield None
            return
        watch = GpuWatch(self._gpu)
        watch.start()
        try:
            yield watch
        finally:
            watch.stop()  # a training that failed has not


def _steps(record: Record) -> int:
    """Steps of a turn, from the fastest of the whole runs."""
    times = [entry.seconds for entry in record.rounds if entry.seconds is not None]
    return steps_for(min(times) / record.config.steps)
