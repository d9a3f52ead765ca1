"""What ``--jit best`` chooses, with trainers whose steps take as long as planned."""

import pytest

from cnnprec.measurement import choose_jit as module
from cnnprec.measurement.choose_jit import CLEARLY_FASTER, trainer_for
from cnnprec.precision.precisions import PRECISIONS, get_precision
from tests.support.records import CONFIG

BEST = CONFIG.override(jit="best")
SINGLE = PRECISIONS["single"]


class Machine:
    """A clock that planned steps move on; some of the turns are three times as slow."""

    def __init__(self, on: float, off: float) -> None:
        self.step = {"on": on, "off": off}
        self.now = 0.0
        self.turns = 0
        self.slow_turns: set[int] = set()
        self.built: list[str] = []

    def perf_counter(self) -> float:
        return self.now

    def trainer(self, precision, config, dataset):
        self.built.append(config.jit)
        return Planned(self, config.jit)


class Planned:
    def __init__(self, machine: Machine, jit: str) -> None:
        self.machine = machine
        self.jit = jit

    def warm_up(self) -> None:
        self.machine.now += 5.0

    def start_turns(self) -> None:
        pass

    def take(self, steps: int) -> None:
        slow = 3.0 if self.machine.turns in self.machine.slow_turns else 1.0
        self.machine.turns += 1
        self.machine.now += steps * slow * self.machine.step[self.jit]


@pytest.fixture
def on_machine(monkeypatch):
    def prepare(on: float, off: float) -> Machine:
        machine = Machine(on, off)
        monkeypatch.setattr(module, "time", machine)
        monkeypatch.setattr(module, "Trainer", machine.trainer)
        return machine

    return prepare


@pytest.mark.parametrize(
    ("share", "chosen"),
    [(0.5, "on"), (CLEARLY_FASTER * 0.99, "on"), (CLEARLY_FASTER * 1.01, "off"), (7.0, "off")],
)
def test_xla_is_chosen_where_it_is_clearly_faster(on_machine, share, chosen):
    on_machine(on=share * 0.02, off=0.02)
    assert trainer_for(SINGLE, BEST, None, {}, timed=True).jit == chosen


def test_two_slow_turns_without_xla_do_not_choose_it(on_machine):
    machine = on_machine(on=0.02, off=0.02)
    machine.slow_turns = {4, 6}  # the first four say how many steps a turn has
    assert trainer_for(SINGLE, BEST, None, {}, timed=True).jit == "off"


@pytest.mark.parametrize(("known", "chosen"), [(True, "on"), (False, "off")])
def test_a_choice_that_is_made_already_is_kept(on_machine, known, chosen):
    machine = on_machine(on=0.02, off=0.02)
    compiled = {"single": known, "half": not known}
    assert trainer_for(SINGLE, BEST, None, compiled, timed=True).jit == chosen
    assert machine.built == [chosen]
    assert machine.turns == 0


def test_where_nothing_is_timed_nothing_is_compiled_by_xla(on_machine):
    machine = on_machine(on=0.01, off=0.02)
    assert trainer_for(SINGLE, BEST, None, {}, timed=False).jit == "off"
    assert machine.built == ["off"]


@pytest.mark.parametrize("jit", ["auto", "on", "off", "both"])
def test_other_settings_leave_no_choice(on_machine, jit):
    machine = on_machine(on=0.01, off=0.02)
    trainer_for(SINGLE, CONFIG.override(jit=jit), None, {"single": True}, timed=True)
    assert machine.built == [jit]


def test_a_precision_compiled_by_xla_leaves_no_choice(on_machine):
    machine = on_machine(on=0.01, off=0.02)
    trainer_for(get_precision("single_xla"), BEST, None, {}, timed=True)
    assert machine.built == ["best"]
