"""What watching costs where nothing is wrong: the note of loss and loss scale in every step.

Nothing else is watched while a training runs; all looking closer is done afterwards, in a
replay (`cnnprec.diagnosis.replay`). The same precision is trained by two trainers, one with its
`cnnprec.training.step_log.StepLog` and one without, in turn within one session, so that the
machine's drift meets both alike.

Run it with ``pytest benchmarks/harness/test_watching.py -m harness``.
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

# 200 steps, four seconds or more on two cores. What a call of fit costs by itself, about
# 50 ms, is the same in both ways and hides at most 50 ms in 4 s, 1.3 %, of the cost looked for.
# Many short rounds find the median better than a few long ones on a machine that drifts.
_WORK = TrainingConfig(
    "watching", train_samples=6_400, test_samples=100, epochs=1, runs=11, batch_size=32
)

# The limit of this suite's specification.
_MOST = 1.03


@pytest.mark.usefixtures("prepared")
@pytest.mark.parametrize("name", ["single", "mixed_half"])
def test_step_that_is_watched_costs_what_an_unwatched_one_costs(
    name: str, benchmark, suite: Session, load, record_property, capsys
) -> None:
    from cnnprec.training.trainer import Trainer

    dataset = load(_WORK)
    trainers = {way: Trainer(PRECISIONS[name], _WORK, dataset) for way in ("watched", "unwatched")}
    # Before the step is traced: the trace holds the note, or does not.
    trainers["unwatched"].model.step_log = None
    seconds: dict[str, list[float]] = {way: [] for way in trainers}
    cpu_seconds: dict[str, list[float]] = {way: [] for way in trainers}
    order = random.Random(suite.order_seed)  # noqa: S311

    def one_round() -> None:
        for way in order.sample(list(trainers), len(trainers)):
            trainers[way].reset(_WORK.seed)
            start, cpu_start = time.perf_counter(), time.process_time()
            trainers[way].fit()
            seconds[way].append(time.perf_counter() - start)
            cpu_seconds[way].append(time.process_time() - cpu_start)

    one_round()  # traces and compiles
    # The two ways did differ in what they noted, and in nothing else.
    assert len(trainers["watched"].finish().first_losses) > 0
    assert _weights(trainers["watched"]) == _weights(trainers["unwatched"])
    for times in (*seconds.values(), *cpu_seconds.values()):
        times.clear()
    benchmark.group = "harness"
    benchmark.pedantic(one_round, rounds=_WORK.runs)

    ratios = _ratios(seconds)
    ratio = statistics.median(ratios)
    report = {
        f"{name}, watched over unwatched": _spread(ratios),
        # Other processes on the machine disturb it less than the time on the wall.
        f"{name}, the same in CPU time": _spread(_ratios(cpu_seconds)),
        f"{name}, median ms per step": str(
            {way: round(statistics.median(t) / _WORK.steps * 1e3, 2) for way, t in seconds.items()}
        ),
        f"{name}, fastest ms per step": str(
            {way: round(min(t) / _WORK.steps * 1e3, 2) for way, t in seconds.items()}
        ),
    }
    benchmark.extra_info["watching"] = report
    with capsys.disabled():
        print()  # noqa: T201
        for key, text in report.items():
            print(f"  {key}: {text}")  # noqa: T201
            record_property(key, text)
    assert ratio <= _MOST, report


def _ratios(seconds: dict[str, list[float]]) -> list[float]:
    """One ratio for each round."""
    return [a / b for a, b in zip(seconds["watched"], seconds["unwatched"], strict=True)]


def _spread(ratios: list[float]) -> str:
    low, median, high = statistics.quantiles(ratios, n=4)
    return (
        f"{median:.3f} (median of {len(ratios)}, half of them {low:.3f} to {high:.3f}, "
        f"all {min(ratios):.3f} to {max(ratios):.3f})"
    )


def _weights(trainer) -> list[bytes]:
    return [value.tobytes() for value in trainer.model.get_weights()]
