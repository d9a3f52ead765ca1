"""What cannot be shared among devices is refused, with the remedy, before anything is measured."""

import pytest

from cnnprec.machine.names import DeviceError
from cnnprec.training.strategy import select_strategy


def test_one_device_needs_no_strategy():
    assert select_strategy("none", "cpu", 32) == ("cpu", None)


def test_one_device_cannot_be_mirrored():
    with pytest.raises(DeviceError, match="--strategy mirrored: TensorFlow sees 1 CPU, at least 2"):
        select_strategy("mirrored", "cpu", 32)


def test_one_gpu_of_several_is_no_strategy():
    with pytest.raises(DeviceError, match="--device gpu:1: --strategy mirrored uses all GPUs"):
        select_strategy("mirrored", "gpu:1", 32)
