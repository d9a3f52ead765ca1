"""What cannot be shared among devices is refused, with the remedy, before anything is measured."""

import pytest
import tensorflow as tf

from cnnprec.machine.names import DeviceError, WorkerLostError
from cnnprec.training.strategy import agreed, explained, select_strategy
from tests.support.workers import loopback


def test_one_device_needs_no_strategy():
    assert select_strategy("none", "cpu", 32) == ("cpu", None)


def test_one_device_cannot_be_mirrored():
    with pytest.raises(DeviceError, match="--strategy mirrored: TensorFlow sees 1 CPU, at least 2"):
        select_strategy("mirrored", "cpu", 32)


def test_one_gpu_of_several_is_no_strategy():
    with pytest.raises(DeviceError, match="--device gpu:1: --strategy mirrored uses all GPUs"):
        select_strategy("mirrored", "gpu:1", 32)


def test_workers_that_cannot_share_the_batch_are_refused_before_they_wait(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", loopback(3)[0])
    with pytest.raises(DeviceError, match="--batch-size 32: give a multiple of 3"):
        select_strategy("multiworker", "cpu", 32)


def test_one_worker_with_one_device_is_refused(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", loopback(1)[0])
    with pytest.raises(DeviceError, match="--strategy multiworker: TensorFlow sees 1 CPU"):
        select_strategy("multiworker", "cpu", 32)


def test_number_of_one_process_is_agreed_on():
    assert agreed(None, 0.3) == 0.3


@pytest.mark.parametrize("kind", [tf.errors.UnavailableError, tf.errors.AbortedError])
def test_lost_worker_is_said_in_place_of_the_graph(kind):
    error = explained(kind(None, None, "Detected at node\nCollective ops is aborted by: reset"))
    assert isinstance(error, WorkerLostError)
    assert "another worker has ended" in str(error)
    assert str(error).endswith("is aborted by: reset")


def test_other_errors_stay_what_they_are():
    error = tf.errors.ResourceExhaustedError(None, None, "no memory")
    assert explained(error) is error
