"""Several replicas against one device: the same gradients, the same verdicts, the same skips.

TensorFlow divides the CPU into devices, or joins other workers, only before its first operation, so
a child process computes everything at once, and so do two workers.
"""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cnnprec.precision.formats import get_format
from cnnprec.precision.precisions import PRECISIONS
from tests.support.workers import loopback

NAMES = [name for name, precision in PRECISIONS.items() if not precision.tensor_float_32]
ROOT = Path(__file__).parents[2]
CHILD = """
import hashlib
import json
import os
import signal
import sys

import numpy as np
import tensorflow as tf

names, kind = sys.argv[1].split(","), sys.argv[2]
if kind == "mirrored":
    (cpu,) = tf.config.list_physical_devices("CPU")
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, halves)

from cnnprec.diagnosis.step import as_float64
from cnnprec.precision.precisions import PRECISIONS
from cnnprec.training.replicas import ReplicaTrainer
from cnnprec.training.strategy import agreed, explained, select_strategy
from cnnprec.training.trainer import Trainer
from cnnprec.workload.load_dataset import load_dataset
from cnnprec.workload.profiles import TrainingConfig

config = TrainingConfig("tiny", 128, 100, epochs=2, runs=1, batch_size=32, jit="off")
data = load_dataset("synthetic", train_samples=128, test_samples=100)
device, strategy = select_strategy(kind, "cpu", config.batch_size)


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


def moments(alone, shared):
    shared.start_turns()
    shared.take(1)
    found = [as_float64(v) for v in shared.model.optimizer.variables if "momentum" in v.name]
    alone.start_turns()
    summed = sums_of_parts(alone)
    alone.model.optimizer.apply_gradients(zip(summed, alone.model.trainable_weights))
    right = [as_float64(v) for v in alone.model.optimizer.variables if "momentum" in v.name]
    return {
        "apart": [float(np.max(np.abs(a - b))) for a, b in zip(found, right)],
        "moments": [float(np.max(np.abs(b))) for b in right],
    }


def together(name):
    # What a worker does: few steps.
    alone = Trainer(PRECISIONS[name], config, data)
    shared = ReplicaTrainer(alone, data, strategy)
    found = moments(alone, shared)
    shared.take(5)
    weights = b"".join(w.tobytes() for w in shared.model.get_weights())
    losses = str(shared.model.step_log.losses())  # NaN is not equal to itself
    return found | {"weights": hashlib.sha256(weights).hexdigest(), "losses": losses}


def lost(task):
    # Worker 1 is killed, and worker 0 trains on.
    shared = ReplicaTrainer(Trainer(PRECISIONS["mixed_half"], config, data), data, strategy)
    shared.start_turns()
    shared.take(1)
    if task == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        shared.take(10**6)
    except Exception as error:
        return repr(explained(error))


def compare(name):
    alone = Trainer(PRECISIONS[name], config, data)
    shared = ReplicaTrainer(alone, data, strategy)
    runs = []
    for trainer in (alone, shared):
        trainer.reset(12)
        trainer.fit()
        runs.append(trainer.finish())
    return moments(alone, shared) | {
        "outcomes": [str(run.outcome) for run in runs],
        "losses": [list(run.first_losses) for run in runs],
        "epochs": [list(run.losses) for run in runs],
        "scales": [list(run.loss_scales) for run in runs],
        "traced": shared.model.take_steps.experimental_get_tracing_count(),
    }


def skip():
    shared = ReplicaTrainer(Trainer(PRECISIONS["mixed_half"], config, data), data, strategy)
    which = tf.Variable(0)
    plant(shared, which)
    optimizer = shared.model.optimizer
    weights = len(shared.model.trainable_weights)
    for replica in (0, 1):
        which.assign(replica)
        shared.start_turns()
        before = state(shared)
        shared.take(3)
        copies = strategy.experimental_local_results(optimizer.dynamic_scale.value)
        yield {
            "moved": sum(int(np.any(a != b)) for a, b in zip(before[:weights], state(shared))),
            "iterations": int(optimizer.iterations.numpy()),
            "scales": [float(copy) for copy in copies],
            "log": shared._log.scales().tolist(),
        }


def compiled():
    alone = Trainer(PRECISIONS["mixed_half"], config.override(jit="on"), data)
    shared = ReplicaTrainer(alone, data, strategy)
    shared.reset(12)
    shared.fit()
    return str(shared.finish().outcome)


found = {"device": device, "replicas": strategy.num_replicas_in_sync}
if kind == "multiworker":
    task = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    found |= {"agreed": agreed(strategy, task)} | {name: together(name) for name in names}
    if task == 1:
        print("FOUND", json.dumps(found), flush=True)
    found["lost"] = lost(task)
else:
    found |= {name: compare(name) for name in names}
    found |= {"skips": list(skip()), "compiled": compiled()}
print("FOUND", json.dumps(found), flush=True)
"""


def start(*arguments: str, **variables: str) -> subprocess.Popen[str]:
    quiet = {"PYTHONPATH": str(ROOT), "TF_ENABLE_ONEDNN_OPTS": "0", "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments],
        env=quiet | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(process: subprocess.Popen[str], status: int = 0) -> dict[str, Any]:
    out, err = process.communicate(timeout=280)
    assert process.returncode == status, err
    (line,) = [line for line in out.splitlines() if line.startswith("FOUND ")]
    found: dict[str, Any] = json.loads(line.removeprefix("FOUND "))
    return found


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    with start(",".join(NAMES), "mirrored") as process:
        return result(process)


@pytest.fixture(scope="module")
def workers() -> list[dict[str, Any]]:
    started = [start(",".join(NAMES), "multiworker", TF_CONFIG=config) for config in loopback(2)]
    with started[0], started[1]:
        try:
            return [result(started[0]), result(started[1], -signal.SIGKILL)]
        finally:
            for process in started:
                process.kill()


def test_two_devices_are_two_replicas(found):
    assert (found["device"], found["replicas"]) == ("cpu", 2)


@pytest.mark.parametrize("which", ["devices", "worker 0", "worker 1"])
@pytest.mark.parametrize("name", NAMES)
def test_first_moments_are_those_of_the_sum_of_the_parts(request, name, which):
    # Adam would hide a factor from the weights, but not from its moments. The parts are computed
    # by the same kernels, so only the sum and the moment are rounded, each once on either side, and
    # the sum is at most ten times the moment.
    if which == "devices":
        found = request.getfixturevalue("found")[name]
    else:
        found = request.getfixturevalue("workers")[int(which[-1])][name]
    roundoff = get_format(PRECISIONS[name].variable_dtype).unit_roundoff
    assert len(found["apart"]) == 10
    for apart, largest in zip(found["apart"], found["moments"], strict=True):
        assert largest > 0
        assert apart <= 4 * roundoff * largest


def test_workers_agree_on_a_number_and_have_the_same_weights(workers):
    assert [worker["replicas"] for worker in workers] == [2, 2]
    assert [worker["agreed"] for worker in workers] == [0.5, 0.5]
    for name in NAMES:
        for key in ("weights", "losses"):
            assert workers[0][name][key] == workers[1][name][key]


def test_killed_worker_is_told_of_on_the_other(workers):
    assert "WorkerLostError('another worker has ended" in workers[0]["lost"]


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


@pytest.mark.parametrize("which", [0, 1])
def test_infinity_in_one_replica_makes_all_of_them_skip_the_step(found, which):
    found = found["skips"][which]
    assert (found["moved"], found["iterations"]) == (0, 0)
    assert found["log"] == [32768.0, 16384.0, 8192.0]
    assert found["scales"] == [4096.0, 4096.0]


def test_replicas_compiled_by_xla_train(found):
    assert found["compiled"] == "trained"
