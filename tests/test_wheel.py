"""What an installed wheel holds: the package, its benchmarks, nothing else."""

import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> set[str]:
    hatchling = pytest.importorskip("hatchling.builders.wheel")
    folder = tmp_path_factory.mktemp("dist")
    (built,) = hatchling.WheelBuilder(str(ROOT)).build(directory=str(folder))
    with zipfile.ZipFile(built) as wheel:
        return set(wheel.namelist())


def test_wheel_holds_every_module_and_the_benchmarks(names):
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "cnnprec").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    benchmarks = {
        f"cnnprec/benchmarks/{name}.py"
        for name in (
            *("__init__", "test_limits", "test_numerics", "test_soak"),
            *("test_training", "test_verdict"),
        )
    }
    assert {name for name in names if ".dist-info/" not in name} == package | benchmarks
