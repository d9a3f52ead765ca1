"""``--device-limits`` in whole pytest sessions."""

import shutil

import pytest

from cnnprec.measurement import limits
from cnnprec.records.limits import DeviceLimits
from cnnprec.records.read_sessions import read_session
from tests.support.project import REPOSITORY

SMALL = (
    *("--dataset=synthetic", "--train-samples=64", "--epochs=1", "--runs=2", "--device=cpu"),
    *("--turns=0", "--numerics=off", "--precision=single", "--benchmark-json=out.json"),
)


@pytest.fixture
def session(pytester, monkeypatch):
    """Runs a session on a device of these limits."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)
    for name in ("test_training.py", "test_limits.py"):
        shutil.copy(REPOSITORY / "benchmarks" / name, pytester.path)

    def run(flops: float, *options: str):
        device = DeviceLimits(flops, flops, flops, 1e12, 1e-9)
        monkeypatch.setattr(limits, "device_limits", lambda *_: device)
        arguments = ("-p", "cnnprec.pytest_plugin", "-p", "no:cacheprovider", *SMALL)
        return pytester.runpytest_inprocess(*arguments, *options)

    return run


def test_limits_are_measured_shown_and_saved_where_they_are_asked_for(session, pytester):
    result = session(1e15, "--device-limits")
    result.assert_outcomes(passed=2)
    assert "single is bound by" in result.stdout.str()
    (record,) = read_session(pytester.path / "out.json").records.values()
    saved = record.limits
    assert saved is not None
    assert saved.device.product == 1e15


def test_precision_that_is_faster_than_the_device_fails_the_session(session):
    result = session(1e6, "--device-limits")
    result.assert_outcomes(passed=1, failed=1)
    assert "INVALID: single: a step computes at" in result.stdout.str()


def test_without_the_option_nothing_is_measured(session):
    result = session(1e6)
    result.assert_outcomes(passed=1, deselected=1)
    assert "of limit" not in result.stdout.str()
