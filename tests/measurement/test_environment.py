import os
import platform
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import cnnprec
from cnnprec.machine import code
from cnnprec.machine.gpu import Gpu
from cnnprec.measurement import environment
from cnnprec.numerics import onednn

GPU = Gpu("NVIDIA H200", 150_000_000_000, (9, 0), "580.1", "96.00", 700.0, "off")


def test_versions_are_those_of_the_running_modules():
    here = environment.describe_environment("cpu")
    assert (here.tensorflow, here.keras) == (tf.__version__, keras.__version__)
    assert (here.numpy, here.python) == (np.__version__, platform.python_version())


def test_on_a_cpu_the_gpu_fields_do_not_apply():
    here = environment.describe_environment("cpu")
    assert here.device_kind == "cpu"
    assert here.device_model == here.cpu_model
    assert here.device_count == here.usable_cores
    assert (here.cuda, here.cudnn, here.driver, here.vbios) == (None, None, None, None)


def test_on_a_gpu_its_fields_come_from_nvml(monkeypatch):
    monkeypatch.setattr(environment, "query_gpus", lambda: (GPU,))
    here = environment.describe_environment("gpu:0")
    assert here.device_kind == "gpu"
    assert (here.device_model, here.driver, here.vbios) == ("NVIDIA H200", "580.1", "96.00")
    assert (here.power_limit_watts, here.mig_mode) == (700.0, "off")
    assert here.device_count == 1
    assert here.cuda == tf.sysconfig.get_build_info().get("cuda_version")


def test_gpu_that_nvml_does_not_know_is_named_by_tensorflow(monkeypatch):
    monkeypatch.setattr(environment, "query_gpus", lambda: ())
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["some gpu"])
    monkeypatch.setattr(
        tf.config.experimental, "get_device_details", lambda gpu: {"device_name": "Other GPU"}
    )
    here = environment.describe_environment("gpu:0")
    assert (here.device_model, here.driver) == ("Other GPU", None)


def test_code_and_commit_are_those_of_this_project(monkeypatch):
    monkeypatch.setattr(environment, "code_digest", lambda: "0123456789ab")
    monkeypatch.setattr(environment, "commit", lambda: "fedcba987654-dirty")
    here = environment.describe_environment("cpu")
    assert (here.code, here.commit) == ("0123456789ab", "fedcba987654-dirty")


@pytest.mark.parametrize("enabled", [True, False])
def test_op_determinism_is_recorded(monkeypatch, enabled):
    monkeypatch.setattr(environment, "is_op_determinism_enabled", lambda: enabled)
    assert environment.describe_environment("cpu").op_determinism is enabled


def test_onednn_switched_off_is_recorded_as_off_and_computes_nothing():
    code = (
        "from cnnprec.numerics.onednn import computed_by_onednn;"
        "from cnnprec.measurement.environment import describe_environment;"
        "print(describe_environment('cpu').onednn, computed_by_onednn('float32'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False", "False"]


def test_onednn_computes_float32_where_it_is_on_and_float64_nowhere():
    on = environment.describe_environment("cpu").onednn
    assert onednn.computed_by_onednn("float32") is on
    assert not onednn.computed_by_onednn("float64")


def test_code_and_commit_are_those_of_the_whole_package():
    assert Path(cnnprec.__file__).parent == code._PACKAGE
    here = environment.describe_environment("cpu")
    assert here.code == code.code_digest()
    git = Path(cnnprec.__file__).parents[1] / ".git"
    assert (here.commit is not None) == git.exists()
