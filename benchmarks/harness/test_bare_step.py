"""The suite's training step costs what a bare compiled step costs, in every precision.

Turns of the suite (`cnnprec.training.trainer.Trainer.take`) and of a compiled loop with nothing
around it are taken one after the other within one session, so that the machine's drift meets both
alike. The loop does what the precision's training needs and no more: forward, gradients, the loss
scale where there is one, Adam.

Run it with ``pytest benchmarks/harness/test_bare_step.py -m harness``.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable

import pytest

from cnnprec.precision.precisions import Precision
from cnnprec.verdicts.statistics import fastest_third, geometric_mean
from cnnprec.workload.profiles import TrainingConfig

pytestmark = pytest.mark.harness

# The limits of this suite's specification, by batch size.
_MOST = {32: 1.05, 512: 1.01}
# A turn long enough that calling TensorFlow is no part of it, and as many as half a minute allows.
_TURN_SECONDS = 0.3
_SECONDS = 30.0
_ROUNDS = 5, 40


@pytest.mark.each_precision
@pytest.mark.parametrize("batch", _MOST)
@pytest.mark.usefixtures("prepared")
def test_step_of_the_suite_costs_what_a_bare_step_costs(
    benchmark, precision: Precision, batch: int, load, in_turns, bare_loop, record_property, capsys
) -> None:
    from cnnprec.training.trainer import Trainer

    images = {"train_samples": 20 * batch, "test_samples": 100}
    work = TrainingConfig("step", **images, epochs=1, runs=1, batch_size=batch)
    dataset = load(work)
    trainer = Trainer(precision, work, dataset)
    trainer.warm_up()
    trainer.start_turns()
    ways: dict[str, Callable[[int], None]] = {
        "suite": trainer.take,
        "bare": bare_loop(precision, work, dataset),
    }
    steps = _steps(ways)
    one_round, turns = in_turns({n: functools.partial(take, steps) for n, take in ways.items()})
    one_round()
    round_seconds = sum(times.pop() for times in turns.values())
    benchmark.group = "harness"
    fewest, most = _ROUNDS
    rounds = max(fewest, min(most, round(_SECONDS / round_seconds)))
    benchmark.pedantic(one_round, rounds=rounds)
    seconds = {name: [turn / steps for turn in times] for name, times in turns.items()}
    ratio = _figure(seconds["suite"]) / _figure(seconds["bare"])
    low, median, high = statistics.quantiles(
        (a / b for a, b in zip(seconds["suite"], seconds["bare"], strict=True)), n=4
    )
    text = (
        f"{precision}, batch {batch}: {ratio:.3f} ({_figure(seconds['suite']) * 1e3:.2f} over "
        f"{_figure(seconds['bare']) * 1e3:.2f} ms; median of {rounds} rounds {median:.3f}, half of "
        f"them {low:.3f} to {high:.3f})"
    )
    record_property("ratio", text)
    with capsys.disabled():
        print(f"\n  {text}")  # noqa: T201
    assert ratio <= _MOST[batch], text


def _figure(seconds: list[float]) -> float:
    """As the suite's own time per step: what else runs on the machine only adds."""
    return geometric_mean(fastest_third(seconds))


def _steps(ways: dict[str, Callable[[int], None]]) -> int:
    """Steps of a turn: as many as the slower of the two takes in that time."""
    slowest = 0.0
    for take in ways.values():
        take(2)  # traces and compiles
        start = time.perf_counter()
        take(3)
        slowest = max(slowest, (time.perf_counter() - start) / 3)
    return max(1, round(_TURN_SECONDS / slowest))
