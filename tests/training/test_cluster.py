"""What is wrong with a cluster is said before anybody waits for it."""

import json
import os
import socket

import pytest

from cnnprec.machine.names import DeviceError
from cnnprec.training.cluster import join_cluster
from tests.support.workers import loopback, tf_config

TWO = ["host1:2222", "host2:2222"]
OWN = {"type": "worker", "index": 0}


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    for name in [n for n in os.environ if n == "TF_CONFIG" or n.startswith("SLURM")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize("chief", [0, 1])
def test_workers_are_counted_with_a_chief(monkeypatch, chief):
    config = json.loads(loopback(3)[1])
    config["cluster"] |= {"chief": ["host0:2222"] * chief}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    assert join_cluster() == 3 + chief


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Expecting"),
        ("", "Expecting"),
        (json.dumps({"cluster": {"chief": 5, "worker": TWO}, "task": OWN}), "int"),
        ("[]", "a cluster with a list of workers"),
        ('{"cluster": {}}', "a cluster with a list of workers"),
        ('{"cluster": {"worker": []}}', "a cluster with a list of workers"),
        ('{"cluster": {"worker": "host1:2222"}}', "a cluster with a list of workers"),
        ('{"cluster": {"worker": ["host1:2222"]}}', "a task with type and index"),
        (tf_config(TWO, "evaluator"), "its cluster has no evaluator 0"),
        (tf_config(TWO, "chief"), "its cluster has no chief 0"),
        (tf_config(TWO, index=2), "its cluster has no worker 2"),
        (tf_config(TWO, index=-1), "its cluster has no worker -1"),
        (tf_config(TWO, index="0"), "a task with type and index"),
        (tf_config(["host1:2222", "host2"]), "the address 'host2' is not HOST:PORT"),
        (tf_config(["host1:2222", 5]), "the address 5 is not HOST:PORT"),
    ],
)
def test_wrong_tf_config_is_refused_with_its_text_and_a_right_one(monkeypatch, text, said):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(DeviceError) as refusal:
        join_cluster()
    message = str(refusal.value)
    assert f"TF_CONFIG {text!r}: " in message
    assert said in message
    assert '"worker": ["host1:2222", "host2:2222"]' in message


def test_neither_tf_config_nor_slurm_is_refused():
    with pytest.raises(DeviceError, match=r"TF_CONFIG is not set.*Under Slurm, start it by srun"):
        join_cluster()


@pytest.mark.parametrize("listens", ["127.0.0.1", ""])
def test_port_in_use_is_refused(monkeypatch, listens):
    with socket.socket() as other:
        other.bind((listens, 0))
        other.listen()
        address = f"localhost:{other.getsockname()[1]}"
        monkeypatch.setenv("TF_CONFIG", tf_config([address, "host2:2222"]))
        with pytest.raises(DeviceError, match=f"{address}, cannot be had .*in use"):
            join_cluster()


def test_port_that_does_not_exist_is_refused(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", tf_config(["host1:99999", "host2:2222"]))
    with pytest.raises(DeviceError, match="host1:99999, cannot be had"):
        join_cluster()


SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_PROCID": "1",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
    "SLURMD_NODENAME": "node2",
}


def slurm(monkeypatch, **changes):
    for name, value in (SLURM | changes).items():
        if value:
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("TF_CONFIG", "set, so that it is taken back")
    monkeypatch.delenv("TF_CONFIG")


def test_slurm_names_the_workers(monkeypatch):
    slurm(monkeypatch)
    assert join_cluster() == 2
    assert json.loads(os.environ["TF_CONFIG"]) == {
        "cluster": {"worker": ["node1:8888", "node2:8888"]},
        "task": {"type": "worker", "index": 1},
    }


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"SLURM_PROCID": ""}, "start it by srun: SLURM_PROCID not found in environment"),
        ({"SLURM_STEP_NODELIST": "node[9-10]", "SLURMD_NODENAME": "node10"}, "node9.*node10"),
    ],
)
def test_what_slurm_does_not_tell_is_refused(monkeypatch, changes, said):
    slurm(monkeypatch, **changes)
    with pytest.raises(DeviceError, match=said):
        join_cluster()


def test_tf_config_goes_before_slurm(monkeypatch):
    slurm(monkeypatch)
    monkeypatch.setenv("TF_CONFIG", loopback(3)[0])
    assert join_cluster() == 3
