"""A project whose benchmarks report planned figures, to run whole pytest sessions in.

The sessions run the repository's own benchmarks and plugin. Only the fixture that trains is
replaced by one that reports the figures that a test asks for.
"""

import json
import re
from pathlib import Path

import pytest

from cnnprec.machine.names import machine_id
from cnnprec.verdicts.compare import due_judgements

REPOSITORY = Path(__file__).parents[2]
WORK = [
    *("--dataset=synthetic", "--train-samples=64", "--epochs=1", "--runs=3", "--device=cpu"),
    *("--turns=0", "--numerics=off"),
]
MEASURED = re.compile(r"test_training\.py")

# Reports what plan.json asks for instead of training. What belongs to no precision by name
# holds for all of them.
CONFTEST = """
import json
import time
from pathlib import Path

import pytest

from cnnprec.records.record import Outcome, Record, Round, TrainingRun


@pytest.fixture
def measure(benchmark, suite, prepared):
    plan = json.loads(Path("plan.json").read_text())

    def run(precision):
        wanted = {**plan[""], **plan.get(precision.name, {})}
        benchmark._timer = time.perf_counter  # no turns were taken whose times could be read
        benchmark.pedantic(lambda: None, rounds=suite.config.runs)
        if wanted["crashes"]:
            raise RuntimeError("out of memory")
        rounds = tuple(
            Round(
                TrainingRun(
                    seed=suite.config.seed + i,
                    outcome=Outcome(wanted["outcome"]),
                    losses=(1.0,) * suite.config.epochs,
                    first_losses=(2.3, wanted["loss"]),
                    test_accuracy=wanted["accuracy"],
                    first_bad_step=None,
                    loss_scales=((0, 32768.0),) if precision.loss_scaling else (),
                    weights_sha256=wanted["bits"] * 64,
                ),
                seconds=wanted["seconds"],
                cpu_seconds=wanted["cpu_seconds"],
                peak_memory_bytes=wanted["bytes"],
            )
            for i in range(suite.config.runs)
        )
        others = tuple(sorted(p.name for p in suite.precisions if p.name != precision.name))
        record = Record(
            precision, suite.config, prepared.data_info, prepared.environment, others, False, 1.0,
            rounds,
        )
        suite.records[precision.name] = record
        benchmark.extra_info["cnnprec"] = record.to_dict()
        if wanted["fails"]:
            pytest.fail("the body fails after the timing")
        return record

    return run
"""
PLAN = {
    "outcome": "trained",
    "accuracy": 0.9,
    "loss": 1.5,
    "bits": "a",
    "seconds": 2.0,
    "cpu_seconds": 3.0,
    "bytes": 500_000_000,
    "fails": False,
    "crashes": False,
}
# Verdicts on two precisions on a CPU; the memory of each alone is not judged there.
DUE = len(due_judgements(["single", "half"], "cpu"))
# Session by session, with a log standard deviation of 1 %: what a quiet machine shows.
NOISE = (0.990, 1.010, 1.000, 0.985, 1.015, 1.005)


class Project:
    """A project whose benchmarks report planned figures."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path
        self.folder = pytester.path / "benchmarks" / "baselines" / machine_id("cpu")

    def plan(self, **by_precision) -> None:
        """Sets the figures: keywords of PLAN, or a dict for one precision by name."""
        common = {name: by_precision.pop(name) for name in list(by_precision) if name in PLAN}
        (self.path / "plan.json").write_text(json.dumps({"": {**PLAN, **common}, **by_precision}))

    def run(self, *arguments: str):
        return self.pytester.runpytest_inprocess(
            "benchmarks", "-p", "no:cacheprovider", *WORK, *arguments
        )

    def compare(self, *arguments: str):
        return self.run("--precision=single,half", *arguments, "--benchmark-compare")

    def refused(self, *arguments: str) -> str:
        """Runs a session that has to be refused before it measures, and returns its output."""
        result = self.run(*arguments)
        text = result.stdout.str() + result.stderr.str()
        assert result.ret == pytest.ExitCode.USAGE_ERROR, text
        assert not MEASURED.search(text), text
        assert "Traceback" not in text
        return " ".join(text.split())

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.json"))

    def edit(self, path: Path, change) -> None:
        plain = json.loads(path.read_text())
        change(plain)
        path.write_text(json.dumps(plain))
