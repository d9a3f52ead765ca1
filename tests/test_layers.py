"""The house rules on imports: downward only, and cheap where that is promised."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import cnnprec

PACKAGE = Path(cnnprec.__file__).parent

# A module may import only modules that stand on a lower line.
FLOORS = [
    {
        "precision",
        "config",
        "memory",
        "progress",
        "nvml",
        "loss_scale",
        "bounds",
        "inference",
        "children",
        "options",
    },
    {"machine", "record", "data", "hyperparameters", "histograms"},
    {"fingerprint"},
    {"compare"},
    {"baseline", "report", "plots", "ab_plan"},
    {"ab_result"},
    {"ab"},
    {"steps", "device", "environment", "operations", "finite"},
    {"model", "probes"},
    {"training", "dtypes", "snapshots"},
    {"pytest_plugin"},
    {"cli", "figures", "pytest_baselines"},
]
WITHOUT_TENSORFLOW = set().union(*FLOORS[:7]) | {"cli", "pytest_plugin", "pytest_baselines"}
WITH_PYTEST = {"pytest_plugin", "pytest_baselines"}


def floor(module: str) -> int:
    return next(number for number, modules in enumerate(FLOORS) if module in modules)


def modules() -> list[str]:
    return sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


def imports(module: str) -> set[str]:
    """Full names of all that a module imports, also inside its functions."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            found.add(node.module)
    return found


def test_every_module_has_a_floor_and_every_name_a_module():
    assert set(modules()) == set().union(*FLOORS)


@pytest.mark.parametrize("module", modules())
def test_imports_go_downward_only(module):
    inside = {
        name.removeprefix("cnnprec.") for name in imports(module) if name.startswith("cnnprec.")
    }
    assert all(floor(name) < floor(module) for name in inside), inside


@pytest.mark.parametrize("module", sorted(set(modules()) - WITH_PYTEST))
def test_pytest_is_imported_by_the_plugin_alone(module):
    assert not any(name.split(".")[0] in ("pytest", "_pytest") for name in imports(module))


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    return set(done.stdout.split())


def test_importing_the_package_loads_neither_tensorflow_nor_pytest():
    assert not loaded_by("import cnnprec") & {"tensorflow", "keras", "pytest", "numpy"}


def test_modules_that_promise_it_load_without_tensorflow():
    names = ", ".join(f"cnnprec.{module}" for module in sorted(WITHOUT_TENSORFLOW))
    assert not loaded_by(f"import {names}") & {"tensorflow", "keras"}


def test_the_check_itself_sees_tensorflow():
    assert {"tensorflow", "keras"} <= loaded_by("import cnnprec.model")


def test_exported_names_exist_and_are_the_documented_ones():
    assert sorted(cnnprec.__all__) == [
        "PRECISIONS",
        "Precision",
        "__version__",
        "get_precision",
        "parse_precisions",
    ]
    assert all(hasattr(cnnprec, name) for name in cnnprec.__all__)
