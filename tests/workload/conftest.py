"""Fixtures of the tests of the data."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from cnnprec.workload import fashion_mnist
from tests.support.fashion_mnist import FakeKeras, SmallSet


@pytest.fixture
def keras(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeKeras:
    """Keeps a test off the network and off the data of the machine."""
    fake = FakeKeras()
    datasets = types.ModuleType("keras.datasets")
    datasets.fashion_mnist = fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keras", types.ModuleType("keras"))
    monkeypatch.setitem(sys.modules, "keras.datasets", datasets)
    monkeypatch.setattr(fashion_mnist, "_PACKAGE_FOLDER", tmp_path / "package")
    monkeypatch.setattr(fashion_mnist, "_KERAS_FALLBACK", tmp_path / "fallback")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv(fashion_mnist.DATA_DIR_VARIABLE, raising=False)
    return fake


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> SmallSet:
    small = SmallSet()
    small.install(monkeypatch)
    return small
