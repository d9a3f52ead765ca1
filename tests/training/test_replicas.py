"""Several replicas against one device: the same gradients, the same verdicts, the same skips.

TensorFlow divides the CPU into devices only before its first operation, so a child process computes
everything at once.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cnnprec.precision.formats import get_format
from cnnprec.precision.precisions import PRECISIONS
from cnnprec.records.numerics import Numerics, TensorErrors
from cnnprec.verdicts.judge_numbers import Check, faults
from tests.support.records import record

NAMES = [name for name, precision in PRECISIONS.items() if not precision.tensor_float_32]
ROOT = Path(__file__).parents[2]
CHILD = """
import json
import sys

import numpy as np
import tensorflow as tf

(cpu,) = tf.config.list_physical_devices("CPU")
halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, halves)

from cnnprec.diagnosis.step import as_float64
from cnnprec.measurement.probing import replay_in_float64
from cnnprec.precision.precisions import PRECISIONS
from cnnprec.training.replicas import ReplicaTrainer
from cnnprec.training.strategy import select_strategy
from cnnprec.training.trainer import Trainer
from cnnprec.workload.load_dataset import load_dataset
from cnnprec.workload.profiles import TrainingConfig

names, jit, planted = sys.argv[1].split(","), sys.argv[2], sys.argv[3:]
config = TrainingConfig("tiny", 128, 100, epochs=2, runs=1, batch_size=32, jit=jit)
data = load_dataset("synthetic", train_samples=128, test_samples=100)
device, strategy = select_strategy("mirrored", "cpu", config.batch_size)


def state(trainer):
    model = trainer.model
    return [as_float64(v) for v in (*model.trainable_weights, *model.optimizer.variables)]


def sums_of_parts(trainer):
    # What the replicas should have: of each half of the first batch, on one device, divided by 2.
    @tf.function(autograph=False)
    def gradients(images, labels):
        with tf.GradientTape() as tape:
            outputs = trainer.model(images, training=True)
            loss = trainer.model.compute_loss(y=labels, y_pred=outputs, training=False) / 2
            scaled = trainer.model.optimizer.scale_loss(loss)
        return tape.gradient(scaled, trainer.model.trainable_weights)

    trainer.start_turns()
    images, labels = next(iter(trainer.batches))
    halves = [gradients(images[half], labels[half]) for half in (slice(0, 16), slice(16, 32))]
    return [first + second for first, second in zip(*halves)]


def plant(trainer, which):
    # An infinity in the gradients of one replica.
    honest = trainer._gradients

    def gradients(images, labels):
        loss, found = honest(images, labels)
        here = tf.distribute.get_replica_context().replica_id_in_sync_group
        return loss, [g + tf.cast(tf.where(here == which, np.inf, 0.0), g.dtype) for g in found]

    trainer._gradients = gradients


def compare(name):
    alone = Trainer(PRECISIONS[name], config, data)
    shared = ReplicaTrainer(alone, data, strategy)
    runs = []
    for trainer in (alone, shared):
        trainer.warm_up()
        trainer.reset(12)
        trainer.fit()
        runs.append(trainer.finish())
    losses, tensors = replay_in_float64(shared)
    shared.start_turns()
    shared.take(1)
    moments = [as_float64(v) for v in shared.model.optimizer.variables if "momentum" in v.name]
    alone.start_turns()
    summed = sums_of_parts(alone)
    alone.model.optimizer.apply_gradients(zip(summed, alone.model.trainable_weights))
    right = [as_float64(v) for v in alone.model.optimizer.variables if "momentum" in v.name]
    return {
        "outcomes": [str(run.outcome) for run in runs],
        "losses": [list(run.first_losses) for run in runs],
        "epochs": [list(run.losses) for run in runs],
        "scales": [list(run.loss_scales) for run in runs],
        "float64": [losses, [list(row) for row in tensors]],
        "apart": [float(np.max(np.abs(a - b))) for a, b in zip(moments, right)],
        "moments": [float(np.max(np.abs(b))) for b in right],
        "traced": shared.model.take_steps.experimental_get_tracing_count(),
    }


def skip(which):
    shared = ReplicaTrainer(Trainer(PRECISIONS["mixed_half"], config, data), data, strategy)
    plant(shared, which)
    shared.start_turns()
    before = state(shared)
    shared.take(3)
    optimizer = shared.model.optimizer
    copies = strategy.experimental_local_results(optimizer.dynamic_scale.value)
    weights = len(shared.model.trainable_weights)
    return {
        "moved": sum(int(np.any(a != b)) for a, b in zip(before[:weights], state(shared))),
        "iterations": int(optimizer.iterations.numpy()),
        "scales": [float(copy) for copy in copies],
        "log": shared._log.scales().tolist(),
    }


replicas = strategy.num_replicas_in_sync
found = {"device": device, "replicas": replicas}
found |= {name: compare(name) for name in names}
found |= {f"skip {which}": skip(int(which)) for which in planted}
print("FOUND", json.dumps(found))
"""


def child(names: str, jit: str, planted: str = "") -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, names, jit, *planted],
        env={"PYTHONPATH": str(ROOT), "TF_ENABLE_ONEDNN_OPTS": "0", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    found: dict[str, Any] = json.loads(line.removeprefix("FOUND "))
    return found


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return child(",".join(NAMES), "off", planted="01")


def test_two_devices_are_two_replicas(found):
    assert (found["device"], found["replicas"]) == ("cpu", 2)


@pytest.mark.parametrize("name", NAMES)
def test_first_moments_are_those_of_the_sum_of_the_parts(found, name):
    # Adam would hide a factor from the weights, but not from its moments. The parts are computed
    # by the same kernels, so only the sum and the moment are rounded, each once on either side, and
    # the sum is at most ten times the moment.
    found = found[name]
    roundoff = get_format(PRECISIONS[name].variable_dtype).unit_roundoff
    assert len(found["apart"]) == 10
    for apart, largest in zip(found["apart"], found["moments"], strict=True):
        assert largest > 0
        assert apart <= 4 * roundoff * largest


@pytest.mark.parametrize("name", NAMES)
def test_first_steps_are_judged_as_those_of_one_device(found, name):
    losses, tensors = found[name]["float64"]
    made = record(
        name,
        numerics=Numerics(
            level="quick",
            probes=(),
            wrong=(),
            unsteady=(),
            losses=tuple(losses),
            tensors=tuple(TensorErrors(*row) for row in tensors),
            miscounted=0,
        ),
    )
    assert len(tensors) == 10
    assert faults(made, {})[Check.FIRST_STEPS] == []


@pytest.mark.parametrize("name", NAMES)
def test_runs_end_as_on_one_device(found, name):
    found = found[name]
    alone, shared = found["outcomes"]
    assert shared == alone
    assert found["scales"][1] == found["scales"][0]
    assert len(found["epochs"][1]) == 2
    first = [losses[0] for losses in found["losses"]]
    # The mean of 32 losses, each computed to within some tens of roundoffs of the compute dtype.
    roundoff = get_format(PRECISIONS[name].compute_dtype).unit_roundoff
    assert first[1] == pytest.approx(first[0], rel=64 * max(roundoff, 2.0**-24))


@pytest.mark.parametrize("name", NAMES)
def test_mean_of_an_epoch_is_that_of_its_steps(found, name):
    found = found[name]
    steps, epochs = found["losses"][1], found["epochs"][1]
    if found["outcomes"][1] != "diverged":
        assert epochs[0] == pytest.approx(sum(steps[:4]) / 4, rel=1e-6)


def test_steps_of_all_runs_are_traced_once(found):
    assert {found[name]["traced"] for name in NAMES} == {1}


@pytest.mark.parametrize("which", "01")
def test_infinity_in_one_replica_makes_all_of_them_skip_the_step(found, which):
    found = found[f"skip {which}"]
    assert (found["moved"], found["iterations"]) == (0, 0)
    assert found["log"] == [32768.0, 16384.0, 8192.0]
    assert found["scales"] == [4096.0, 4096.0]


def test_xla_compiles_the_replicas():
    found = child("single,mixed_half", "on")
    for name in ("single", "mixed_half"):
        assert found[name]["outcomes"] == ["trained", "trained"]
