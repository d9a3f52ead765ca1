import dataclasses
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


def test_variables_that_decide_on_kernels_are_recorded_and_no_others(monkeypatch):
    for name in [name for name in os.environ if name.startswith(environment._VARIABLES)]:
        monkeypatch.delenv(name)
    kept = {
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "CUDA_DEVICE_MAX_CONNECTIONS": "1",
        "KERAS_BACKEND": "tensorflow",
        "NVIDIA_TF32_OVERRIDE": "0",
        "OMP_NUM_THREADS": "2",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "XLA_FLAGS": "--xla_gpu_autotune_level=0",
    }
    left_out = {
        "CUDA_VISIBLE_DEVICES": "0",  # the GPU's model and UUID are recorded
        "CUDA_CACHE_PATH": "job-17",  # another one in every job
        "TF_CPP_MIN_LOG_LEVEL": "3",  # set by the suite
        "TF_CLI_CONFIG_FILE": "of Terraform",
        "TF_VAR_db": "likewise, often secret",
        "TF_TOKEN_app_terraform_io": "secret",
        "TF_API_KEY": "secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "MY_TF_FLAG": "1",
    }
    for name, value in {**left_out, **kept}.items():
        monkeypatch.setenv(name, value)
    found = environment.describe_environment("cpu").variables
    assert found == tuple(f"{name}={value}" for name, value in kept.items())


def test_values_are_one_printable_line_of_limited_length(monkeypatch):
    def recorded(value):
        monkeypatch.setenv("TF_X", value)
        found = environment.describe_environment("cpu").variables
        return next(text for text in found if text.startswith("TF_X="))

    assert recorded("a\x1b[2J\nb\udc80") == "TF_X=a\\x1b[2J\\nb\\udc80"
    long, other = recorded("x" * 10_000), recorded("x" * 9_999 + "y")
    assert len(long) == len(other) == 312
    assert long != other


@pytest.mark.parametrize(
    ("set_to", "threads"),
    [("3", 3), (" 4 ", 4), ("", None), ("0", None), ("many", None), ("99999999999", None)],
)
def test_threads_are_those_of_the_variable_or_one_a_core(monkeypatch, set_to, threads):
    usual = environment.usable_cores()
    for name, field in (("INTRA", "intra_op_threads"), ("INTER", "inter_op_threads")):
        with monkeypatch.context() as patch:
            patch.setenv(f"TF_NUM_{name}OP_THREADS", set_to)
            here = environment.describe_environment("cpu")
            assert getattr(here, field) == (threads or usual)
            assert {here.intra_op_threads, here.inter_op_threads} == {threads or usual, usual}


def test_threads_that_the_program_sets_count_more_than_the_variable():
    code = (
        "import os, tensorflow as tf;"
        "tf.config.threading.set_intra_op_parallelism_threads(1);"
        "from cnnprec.measurement.environment import describe_environment as d;"
        "tf.linalg.matmul(tf.ones([999, 999]), tf.ones([999, 999]));"
        "print(d('cpu').intra_op_threads, d('cpu').inter_op_threads)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TF_NUM_INTRAOP_THREADS": "3", "TF_NUM_INTEROP_THREADS": "5"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1", "5"]


def test_host_and_gpu_are_named(monkeypatch):
    monkeypatch.setattr(environment, "query_gpus", lambda: (dataclasses.replace(GPU, uuid="G-1"),))
    here = environment.describe_environment("gpu:0")
    assert (here.host, here.gpu_uuid) == (platform.node(), "G-1")
    assert environment.describe_environment("cpu").gpu_uuid is None
