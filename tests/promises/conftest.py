"""The projects of the plugin's tests, and a disk that is full."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ab.conftest import *  # noqa: F403 - fixtures
from tests.pytest_plugin.conftest import one_session, project, saved  # noqa: F401 - fixtures


@pytest.fixture(autouse=True)
def _not_in_a_worker(monkeypatch):
    """pytest-benchmark times nothing in a process that pytest-xdist has started."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def fill(monkeypatch) -> Callable[[Path], None]:
    """Makes the disk full in a folder: what is written there cannot be brought to the disk."""
    usual = os.fsync

    def full(folder: Path) -> None:
        def fsync(descriptor: int) -> None:
            if Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(folder):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            usual(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)

    return full
