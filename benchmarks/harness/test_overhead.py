"""What the suite's own machinery costs per training step.

The same network on the same images is trained three ways, in turn within one session, so
that the machine's drift meets all three alike:

* ``suite``: as `cnnprec.training.trainer.Trainer` trains it,
* ``bare``: a compiled loop over the same tensors with nothing around it,
* ``notebook``: Keras' ``fit`` called as the notebook called it: float64 images, the accuracy
  metric, a progress bar, every step by itself.

Run it with ``pytest benchmarks/harness/test_overhead.py -m harness``.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Callable

import pytest

from cnnprec.precision.precisions import PRECISIONS
from cnnprec.workload.profiles import TrainingConfig

pytestmark = pytest.mark.harness

# 500 steps: enough that what a call of fit costs by itself (about 50 ms) is under 1 %.
_WORK = TrainingConfig(
    "overhead", train_samples=16_000, test_samples=100, epochs=1, runs=5, batch_size=32
)
_SINGLE = PRECISIONS["single"]

# The limits of this suite's specification.
_MOST_OVER_BARE = 1.05
_MOST_OVER_NOTEBOOK = 0.75


@dataclasses.dataclass(frozen=True)
class Ratio:
    """The ratios of two times measured next to each other, one for each round."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        return (
            f"{self.median:.3f} (median of {len(self.values)}, "
            f"{min(self.values):.3f} to {max(self.values):.3f})"
        )


@pytest.mark.usefixtures("prepared")
def test_step_of_the_suite_costs_what_a_bare_loop_costs(
    benchmark, load, in_turns, bare_loop, record_property, capsys
) -> None:
    dataset = load(_WORK)
    ways: dict[str, Callable[[], None]] = {
        "suite": _suite(dataset),
        "bare": functools.partial(bare_loop(_SINGLE, _WORK, dataset), _WORK.steps),
        "notebook": _notebook(dataset),
    }
    one_round, seconds = in_turns(ways)
    one_round()  # traces and compiles
    for times in seconds.values():
        times.clear()
    benchmark.group = "harness"
    benchmark.pedantic(one_round, rounds=_WORK.runs)

    def ratio(above: str, below: str) -> Ratio:
        return Ratio(tuple(a / b for a, b in zip(seconds[above], seconds[below], strict=True)))

    over_bare = ratio("suite", "bare")
    over_notebook = ratio("suite", "notebook")
    floor = ratio("bare", "notebook")
    step_ms = {
        name: round(statistics.median(t) / _WORK.steps * 1e3, 2) for name, t in seconds.items()
    }
    report = {
        "suite over bare loop": str(over_bare),
        "suite over the notebook's fit": str(over_notebook),
        "floor: bare loop over the notebook's fit": str(floor),
        "median ms per step": str(step_ms),
    }
    benchmark.extra_info["overhead"] = report
    with capsys.disabled():
        print()  # noqa: T201
        for name, text in report.items():
            print(f"  {name}: {text}")  # noqa: T201
            record_property(name, text)
    assert over_bare.median <= _MOST_OVER_BARE, report
    # Where the machine computes so slowly that even a loop without any harness cannot reach
    # the limit, the suite has to reach what that loop reaches.
    assert over_notebook.median <= max(_MOST_OVER_NOTEBOOK, floor.median * _MOST_OVER_BARE), report


def _suite(dataset) -> Callable[[], None]:
    from cnnprec.training.trainer import Trainer

    trainer = Trainer(_SINGLE, _WORK, dataset)

    def run() -> None:
        trainer.reset(_WORK.seed)
        trainer.fit()

    return run


def _notebook(dataset) -> Callable[[], None]:
    from keras import Input, layers, losses, models

    model = models.Sequential(
        [
            Input((28, 28, 1)),
            layers.Conv2D(32, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        optimizer="adam",
        loss=losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )
    images = dataset.train_images / 255.0
    return lambda: model.fit(images, dataset.train_labels, epochs=1)
