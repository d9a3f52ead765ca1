"""A turn's time per step is that of a long run.

Turns of a tenth of a second and calls of 100 steps are taken in turn within one session, so that
the machine's drift meets both alike. What a turn costs by itself (one call into TensorFlow, the
wait for the device) would show as a ratio above 1.

Run it with ``pytest benchmarks/harness/test_turns.py -m harness``.
"""

from __future__ import annotations

import random
import statistics
import time

import pytest

from cnnprec.precision.precisions import PRECISIONS
from cnnprec.pytest_plugin.session import Session
from cnnprec.workload.profiles import TrainingConfig

pytestmark = pytest.mark.harness

_WORK = TrainingConfig(
    "turns", train_samples=640, test_samples=100, epochs=1, runs=1, batch_size=32
)
_LONG = 100
_ROUNDS = 25
# The limit of this suite's specification.
_MOST = 0.02


@pytest.mark.usefixtures("prepared")
@pytest.mark.parametrize("name", ["single", "mixed_half"])
def test_step_of_a_turn_costs_what_a_step_of_a_long_run_costs(
    name: str, benchmark, suite: Session, load, record_property, capsys
) -> None:
    from cnnprec.measurement.turns import steps_for
    from cnnprec.training.trainer import Trainer

    trainer = Trainer(PRECISIONS[name], _WORK, load(_WORK))
    trainer.warm_up()
    trainer.start_turns()
    start = time.perf_counter()
    trainer.take(_LONG)
    short = steps_for((time.perf_counter() - start) / _LONG)
    seconds: dict[int, list[float]] = {short: [], _LONG: []}
    order = random.Random(suite.order_seed)  # noqa: S311

    def one_round() -> None:
        # As many steps of each, so that both see the same noise per step.
        calls = [short] * (_LONG // short) + [_LONG]
        order.shuffle(calls)
        spent = dict.fromkeys(seconds, 0.0)
        for steps in calls:
            start = time.perf_counter()
            trainer.take(steps)
            spent[steps] += time.perf_counter() - start
        seconds[short].append(spent[short] / (short * (_LONG // short)))
        seconds[_LONG].append(spent[_LONG] / _LONG)

    one_round()
    for times in seconds.values():
        times.clear()
    benchmark.group = "harness"
    benchmark.pedantic(one_round, rounds=_ROUNDS)
    ratios = [a / b for a, b in zip(seconds[short], seconds[_LONG], strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4)
    text = (
        f"{name}: {short} steps a turn over {_LONG} steps: {median:.3f} (median of {_ROUNDS}, half "
        f"of them {low:.3f} to {high:.3f})"
    )
    record_property(name, text)
    with capsys.disabled():
        print(f"\n  {text}")  # noqa: T201
    assert abs(median - 1) <= _MOST, text
