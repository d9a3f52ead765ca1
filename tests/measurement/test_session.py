"""Training by turns, with a stand-in for the trainer: what goes wrong belongs to its precision."""

import dataclasses
import itertools
import time
from typing import ClassVar

import pytest

from cnnprec.machine.gpu_state import GPU_CYCLE
from cnnprec.measurement import choose_jit
from cnnprec.measurement import session as module
from cnnprec.measurement.session import MeasuredSession, NotMeasuredError
from cnnprec.measurement.watchdog import Watchdog
from cnnprec.precision.precisions import PRECISIONS
from cnnprec.records.record import Outcome
from cnnprec.verdicts.case import machine_state
from tests.support.records import CONFIG, a_round, record

NAMES = ("single", "half", "double")
CHOSEN = [PRECISIONS[name] for name in NAMES]


@dataclasses.dataclass(frozen=True)
class Prepared:
    """As much of `cnnprec.measurement.prepare.Prepared` as a session reads."""

    dataset: object = None
    data_info: object = record().data
    environment: object = record().environment
    strategy: object = None
    seconds: float = 4.0


class FakeTrainer:
    """Trains nothing and notes what it is asked to do."""

    calls: ClassVar[list[str]] = []
    raises: ClassVar[dict[str, BaseException]] = {}
    alone = None

    def __init__(self, precision, config, dataset):
        self.precision = precision
        self.jit_compiled = False

    def _do(self, what: str) -> None:
        call = f"{what} {self.precision}"
        self.calls.append(call)
        if call in self.raises:
            raise self.raises[call]

    def warm_up(self):
        self._do("warm_up")

    def reset(self, seed):
        self.seed = seed

    def fit(self, on_progress):
        self._do(f"fit {self.seed}")

    def finish(self):
        return a_round(seed=self.seed).run


@pytest.fixture
def trainer(monkeypatch):
    monkeypatch.setattr(choose_jit, "Trainer", FakeTrainer)
    monkeypatch.setattr(FakeTrainer, "calls", [])
    monkeypatch.setattr(FakeTrainer, "raises", {})
    return FakeTrainer


def take_all(turns: MeasuredSession, timed: bool = True) -> dict:
    return {name: turns.take(PRECISIONS[name], timed=timed) for name in NAMES}


def test_record_has_the_stages_of_the_session_until_it_was_whole(trainer, monkeypatch):
    moments = itertools.count()
    monkeypatch.setattr(module.time, "perf_counter", lambda: float(next(moments)))
    found = take_all(MeasuredSession(CHOSEN, CONFIG, Prepared()))
    first, *_, last = (dict(series.record.stages) for series in found.values())
    assert list(first) == ["loading", "warm-up", "runs", "numbers"]
    assert first["loading"] == 4.0
    assert {name: last[name] for name in ("loading", "warm-up", "runs")} == {
        name: first[name] for name in ("loading", "warm-up", "runs")
    }
    assert last["numbers"] == 3 * first["numbers"]


def test_stages_are_not_told_where_nothing_is_timed(trainer):
    found = take_all(MeasuredSession(CHOSEN, CONFIG, Prepared()), timed=False)
    assert all(series.record.stages == () for series in found.values())


def test_every_precision_runs_once_before_any_runs_again(trainer):
    found = take_all(MeasuredSession(CHOSEN, CONFIG, Prepared()))
    assert trainer.calls == [
        *(f"warm_up {name}" for name in NAMES),
        *(f"fit 12 {name}" for name in NAMES),
        *(f"fit 13 {name}" for name in NAMES),
    ]
    for name, series in found.items():
        assert series.error is None
        assert len(series.record.rounds) == CONFIG.runs == 2
        assert len(series.clock) == 2 * CONFIG.runs
        times = [b - a for a, b in zip(series.clock[::2], series.clock[1::2], strict=True)]
        assert [entry.seconds for entry in series.record.rounds] == times
        assert series.record.companions == tuple(sorted(set(NAMES) - {name}))


def test_records_are_told_as_they_grow(trainer):
    told = []
    turns = MeasuredSession(
        CHOSEN, CONFIG, Prepared(), on_record=lambda r: told.append(len(r.rounds))
    )
    take_all(turns)
    whole = [2, 2, 2]  # once more, with the session's stages
    assert told == [1, 1, 1, 2, 2, 2, *whole]


def test_without_timing_one_run_shows_that_it_works(trainer):
    for series in take_all(MeasuredSession(CHOSEN, CONFIG, Prepared()), timed=False).values():
        assert len(series.record.rounds) == 1
        assert series.clock == []
        assert series.record.rounds[0].seconds is None


def slow(monkeypatch, seconds: float) -> None:
    real = FakeTrainer.fit
    monkeypatch.setattr(
        FakeTrainer, "fit", lambda self, told: (real(self, told), time.sleep(seconds))
    )


@pytest.mark.parametrize("timed", [True, False])
def test_energy_of_a_run_is_what_the_counters_grew_by(trainer, monkeypatch, timed):
    slow(monkeypatch, 0.03)
    used = itertools.accumulate(itertools.count(1.0))  # the differences are 2, 4, 6 ... joules
    monkeypatch.setattr(module, "package_energy", lambda: {"package-0": (next(used), 0)})
    found = take_all(MeasuredSession(CHOSEN, CONFIG, Prepared()), timed=timed)
    joules = [[entry.joules for entry in found[name].record.rounds] for name in NAMES]
    assert joules == ([[2, 8], [4, 10], [6, 12]] if timed else [[None]] * 3)


@pytest.mark.parametrize(
    ("seconds", "counters"),
    [(0.03, {}), (0.0, {"package-0": (1.0, 0)})],
    ids=["not told", "too short a run for the counter"],
)
def test_energy_is_left_open_where_it_is_not_known(trainer, monkeypatch, seconds, counters):
    slow(monkeypatch, seconds)
    monkeypatch.setattr(module, "package_energy", lambda: counters)
    series = MeasuredSession(CHOSEN, CONFIG, Prepared()).take(CHOSEN[0])
    assert [entry.joules for entry in series.record.rounds] == [None, None]


@pytest.mark.parametrize(("call", "runs"), [("warm_up half", 0), ("fit 13 half", 1)])
def test_an_exception_belongs_to_its_precision_and_the_others_go_on(trainer, call, runs):
    error = trainer.raises[call] = RuntimeError("out of memory")
    found = take_all(MeasuredSession(CHOSEN, CONFIG, Prepared()))
    assert found["half"].error is error
    assert len(found["half"].record.rounds) == runs
    for name in ("single", "double"):
        assert found[name].error is None
        assert len(found[name].record.rounds) == 2


class Timeout(BaseException):
    """As a test runner raises it: no `Exception`, so that nothing swallows it."""


@pytest.mark.parametrize("kind", [Timeout, SystemExit, GeneratorExit])
@pytest.mark.parametrize(
    ("call", "whole"),
    [("warm_up half", set()), ("fit 12 half", set()), ("fit 13 half", {"single"})],
)
def test_what_is_no_exception_ends_the_turns_and_no_precision_passes_unmeasured(
    trainer, kind, call, whole
):
    error = trainer.raises[call] = kind("stop")
    found = take_all(MeasuredSession(CHOSEN, CONFIG, Prepared()))
    assert found["half"].error is error
    assert trainer.calls[-1] == call
    for name in ("single", "double"):
        if name in whole:
            assert found[name].error is None
            assert len(found[name].record.rounds) == 2
        else:
            assert isinstance(found[name].error, NotMeasuredError)
            assert f"{kind.__name__} while half was trained: stop" in str(found[name].error)
            assert "of 2 runs were measured" in str(found[name].error)


def test_an_interrupt_is_passed_on_at_once_and_leaves_nothing_that_passes(trainer):
    trainer.raises["fit 12 half"] = KeyboardInterrupt()
    turns = MeasuredSession(CHOSEN, CONFIG, Prepared())
    with pytest.raises(KeyboardInterrupt):
        turns.take(PRECISIONS["single"])
    assert trainer.calls[-1] == "fit 12 half"
    found = take_all(turns)
    assert all(isinstance(series.error, NotMeasuredError) for series in found.values())
    assert "interrupted" in str(found["double"].error)


def test_timed_turns_follow_the_runs_and_are_kept(trainer, monkeypatch):
    monkeypatch.setattr(FakeTrainer, "start_turns", lambda self: self._do("start"), raising=False)
    monkeypatch.setattr(
        FakeTrainer, "take", lambda self, steps: self._do(f"take {steps}"), raising=False
    )
    config = dataclasses.replace(CONFIG, turns=10)
    found = take_all(MeasuredSession(CHOSEN, config, Prepared(), order_seed=3))
    takes = [call for call in trainer.calls if call.startswith("take")]
    assert not any(call.startswith("fit") for call in trainer.calls[-len(takes) :])
    for name, series in found.items():
        turns = series.record.turns
        assert len(turns.seconds) == 10
        assert len(series.clock) == 20
        assert takes.count(f"take {turns.steps} {name}") == 10 + turns.warm_up
        assert len(turns.calibrators) > 0
    assert len({series.record.turns.calibrators for series in found.values()}) == 1


@pytest.mark.parametrize(("clocks", "cycle"), [([1000, 4000], 0.25e-9), ([None], None)])
def test_clock_of_a_gpu_is_asked_in_every_turn_and_kept(trainer, monkeypatch, clocks, cycle):
    class FakeWatch:
        def __init__(self, index):
            self.asked = 0

        def start(self):
            pass

        def stop(self):
            pass

        def energy(self):
            return {}

        def sm_clock_mhz(self):
            self.asked += 1
            return clocks[self.asked % len(clocks)]

    monkeypatch.setattr(module, "GpuWatch", FakeWatch)
    monkeypatch.setattr(FakeTrainer, "start_turns", lambda self: None, raising=False)
    monkeypatch.setattr(FakeTrainer, "take", lambda self, steps: None, raising=False)
    prepared = Prepared(environment=dataclasses.replace(record().environment, device_kind="gpu"))
    found = take_all(MeasuredSession(CHOSEN, dataclasses.replace(CONFIG, turns=10), prepared))
    calibrators = dict(found["single"].record.turns.calibrators)
    assert calibrators.get(GPU_CYCLE) == (cycle and pytest.approx(cycle))
    state = machine_state(found["single"].record)
    assert len(state) == (1 if cycle is None else 2)


@pytest.mark.parametrize("found", [None, "it overflowed"])
def test_diagnosis_is_kept(trainer, monkeypatch, found):
    sick = dataclasses.replace(a_round(seed=12).run, outcome=Outcome.NOT_LEARNING)
    monkeypatch.setattr(FakeTrainer, "finish", lambda self: sick)
    monkeypatch.setattr(module, "diagnose_run", lambda trainer, run: found)
    series = take_all(MeasuredSession(CHOSEN, CONFIG, Prepared()))["single"]
    assert series.error is None
    assert series.record.diagnosis == found


def test_what_breaks_in_a_turn_belongs_to_its_precision(trainer, monkeypatch):
    monkeypatch.setattr(FakeTrainer, "start_turns", lambda self: None, raising=False)

    def take(self, steps):
        if self.precision.name == "half":
            raise RuntimeError("out of memory")

    monkeypatch.setattr(FakeTrainer, "take", take, raising=False)
    config = dataclasses.replace(CONFIG, turns=10)
    found = take_all(MeasuredSession(CHOSEN, config, Prepared()))
    assert "out of memory" in str(found["half"].error)
    assert found["half"].record.turns is None
    for name in ("single", "double"):
        assert found[name].error is None
        assert len(found[name].record.turns.seconds) == 10


@pytest.mark.parametrize("kind", [Timeout, SystemExit])
def test_turns_that_are_cut_short_leave_nothing_that_passes(trainer, monkeypatch, kind):
    monkeypatch.setattr(FakeTrainer, "start_turns", lambda self: None, raising=False)
    left = [20]

    def take(self, steps):
        left[0] -= 1
        if left[0] < 0 and self.precision.name == "half":
            raise kind("stop")

    monkeypatch.setattr(FakeTrainer, "take", take, raising=False)
    config = dataclasses.replace(CONFIG, turns=10)
    found = take_all(MeasuredSession(CHOSEN, config, Prepared()))
    assert isinstance(found["half"].error, kind)
    for name in ("single", "double"):
        assert isinstance(found[name].error, NotMeasuredError)
        assert "not all of 10 turns" in str(found[name].error)


def test_worker_that_is_out_of_step_asks_nothing_more_of_the_others(trainer, monkeypatch):
    # They wait for it in the turn that broke here: another turn, or to agree, would wait for them.
    monkeypatch.setattr(FakeTrainer, "start_turns", lambda self: None, raising=False)
    taken = []

    def take(self, steps):
        taken.append(self.precision.name)
        raise RuntimeError("out of memory")

    def agreed(strategy, number):
        assert not taken
        return number

    monkeypatch.setattr(FakeTrainer, "take", take, raising=False)
    monkeypatch.setattr(module, "agreed", agreed)
    config = dataclasses.replace(CONFIG, turns=10, strategy="multiworker")
    found = take_all(MeasuredSession(CHOSEN, config, Prepared()))
    (broken,) = taken
    assert "out of memory" in str(found.pop(broken).error)
    for series in found.values():
        assert isinstance(series.error, NotMeasuredError)


class NotingWatchdog(Watchdog):
    """Notes what it is to watch, and by which usual times."""

    def __init__(self):
        super().__init__(None)
        self.noted = []

    def over(self, what, usual=()):
        self.noted.append((what, usual))
        return super().over(what, usual)


def test_all_that_is_trained_is_watched_from_the_first_step_on(trainer, monkeypatch):
    monkeypatch.setattr(FakeTrainer, "start_turns", lambda trainer: None, raising=False)
    monkeypatch.setattr(FakeTrainer, "take", lambda trainer, steps: None, raising=False)
    dog = NotingWatchdog()
    config = dataclasses.replace(CONFIG, runs=2, turns=10)
    MeasuredSession([PRECISIONS["single"]], config, Prepared(), watchdog=dog).take(
        PRECISIONS["single"]
    )
    assert [what for what, _ in dog.noted] == [
        *("the warm-up of single", "a run of single", "the test of single"),
        *("a run of single", "the test of single", "the warm-up of the turns"),
        *["a turn"] * 10,
    ]
    unknown = [place for place, (_, usual) in enumerate(dog.noted) if not usual]
    assert unknown == [0, 2, 4, 5, 6]  # these have the limit of a first time
    assert all(usual is not None for _, usual in dog.noted)


def test_run_that_is_not_timed_may_take_for_ever(trainer):
    dog = NotingWatchdog()
    MeasuredSession([PRECISIONS["single"]], CONFIG, Prepared(), watchdog=dog).take(
        PRECISIONS["single"], timed=False
    )
    assert ("a run of single", None) in dog.noted
