"""When the tests run in two processes, that these never start more, and what they begin with."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import conftest

HERE = Path(__file__).parent


@pytest.fixture
def config(monkeypatch):
    """Stands for the config of plain ``pytest`` on two cores."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.setattr(conftest, "usable_cores", lambda: 2)
    option = SimpleNamespace(numprocesses=None, dist="no", usepdb=False, collectonly=False)
    return SimpleNamespace(option=option, args_source=pytest.Config.ArgsSource.TESTPATHS)


def processes(config) -> int | None:
    conftest.pytest_cmdline_main(config)
    return config.option.numprocesses


def test_whole_suite_runs_in_two_processes(config):
    assert processes(config) == 2
    assert config.option.dist == "loadscope"
    assert config.option.loadscopereorder is False


def test_worker_starts_no_workers(config):
    config.workerinput = {}
    assert processes(config) is None


def test_process_started_by_a_worker_starts_no_workers(config, monkeypatch):
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    assert processes(config) is None


def test_chosen_tests_and_chosen_numbers_are_left_alone(config):
    config.option.numprocesses = 0
    assert processes(config) == 0
    config.option.numprocesses = None
    config.args_source = pytest.Config.ArgsSource.ARGS
    assert processes(config) is None


@pytest.mark.parametrize("option", ["usepdb", "collectonly"])
def test_debugger_and_collecting_stay_in_one_process(config, option):
    setattr(config.option, option, True)
    assert processes(config) is None


def test_single_core_and_a_missing_xdist_stay_in_one_process(config, monkeypatch):
    monkeypatch.setattr(conftest, "usable_cores", lambda: 1)
    assert processes(config) is None
    monkeypatch.setattr(conftest, "usable_cores", lambda: 2)
    del config.option.numprocesses
    conftest.pytest_cmdline_main(config)
    assert not hasattr(config.option, "numprocesses")


def test_longest_files_exist():
    assert [name for name in conftest.LONGEST if not (HERE / name).is_file()] == []


def test_longest_files_come_first_and_all_else_keeps_its_order():
    class Item(SimpleNamespace):
        def add_marker(self, mark, *, append):
            assert (mark.name, mark.args, append) == ("filterwarnings", ("error",), False)

    names = ["a.py", conftest.LONGEST[1], "b.py", conftest.LONGEST[0], "a.py"]
    items = [Item(path=HERE / name, number=number) for number, name in enumerate(names)]
    conftest.pytest_collection_modifyitems(items)
    assert [item.number for item in items] == [3, 1, 0, 2, 4]
