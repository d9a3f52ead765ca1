"""The house rules: folders import downward only, cheaply where promised, and serve a user."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cnnprec

PACKAGE = Path(cnnprec.__file__).parent

# A folder may import only from itself and from folders on lower lines.
FLOORS = [
    {"text", "files"},
    {"precision", "workload", "machine"},
    {"numerics", "records"},
    {"training", "verdicts"},
    {"diagnosis", "reports"},
    {"measurement", "ab"},
    {"cli", "pytest_plugin"},
]
WITH_TENSORFLOW = {"numerics", "training", "diagnosis", "measurement"}
WITH_PYTEST = {"pytest_plugin"}
# Modules of those folders that promise to load without TensorFlow.
LIGHT = {
    "measurement.supported",
    "measurement.progress",
    "numerics.bounds",
    "numerics.discrepancy",
    "numerics.tracked",
}
# What people start; everything in the package is reached from here.
FACES = {"cli.main", "pytest_plugin", *cnnprec._HOMES.values()}
LONGEST = 400
LONG, MANY_LONG = 300, 5


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name, however deep its folder."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            found[name] = path
    return found


MODULES = modules()


def floor(module: str) -> int:
    folder = module.partition(".")[0]
    return next(number for number, folders in enumerate(FLOORS) if folder in folders)


def imports(path: Path) -> set[str]:
    """Full names of all that a file imports, also inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            assert node.module is not None
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            known = {name for name in submodules if name.removeprefix("cnnprec.") in MODULES}
            found |= known or {node.module}
    return found


def inside(module: str) -> set[str]:
    """The modules of the package that a module imports, and the plugins that it loads."""
    names = {
        name.removeprefix("cnnprec.")
        for name in imports(MODULES[module])
        if name.startswith("cnnprec.")
    }
    if module == "pytest_plugin":
        names |= {name.removeprefix("cnnprec.") for name in plugins()}
    return names


def plugins() -> list[str]:
    from cnnprec import pytest_plugin

    return pytest_plugin.pytest_plugins


def test_every_folder_has_a_floor_and_every_name_a_folder():
    assert {name.partition(".")[0] for name in MODULES} == set().union(*FLOORS)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downward_only(module):
    own = module.partition(".")[0]
    for name in inside(module):
        assert name in MODULES, f"{module} imports {name}, which is not there"
        folder = name.partition(".")[0]
        assert folder == own or floor(name) < floor(module), f"{module} imports {name}"


def test_no_module_imports_itself_by_way_of_others():
    graph = {module: inside(module) for module in MODULES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path, module])
        if module not in done:
            for name in sorted(graph[module]):
                visit(name, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def reached(faces: set[str]) -> set[str]:
    found: set[str] = set()
    due = set(faces)
    while due:
        module = due.pop()
        if module not in found:
            found.add(module)
            due |= inside(module)
    return found


def test_every_module_is_reached_from_what_people_start():
    folders = {name for name in MODULES if MODULES[name].name == "__init__.py"}
    assert set(MODULES) - folders - reached(FACES) == set()


def test_a_module_that_only_tests_import_is_found():
    assert "cli.main" not in reached(FACES - {"cli.main"})


@pytest.mark.parametrize("module", [m for m in MODULES if m.partition(".")[0] not in WITH_PYTEST])
def test_pytest_is_imported_by_the_plugin_alone(module):
    names = {name.split(".")[0] for name in imports(MODULES[module])}
    assert not names & {"pytest", "_pytest", "pytest_benchmark"}


@pytest.mark.parametrize("module", [m for m in MODULES if not m.startswith("cli.")])
def test_arguments_are_parsed_by_the_command_alone(module):
    assert module == "text" or "argparse" not in imports(MODULES[module])


def test_every_folder_says_what_it_is_in_one_sentence():
    for name, path in MODULES.items():
        if path.name == "__init__.py":
            text = ast.get_docstring(ast.parse(path.read_text()))
            assert text, name
            assert text.splitlines()[0].endswith("."), name


def test_files_are_short():
    lines = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert {name: count for name, count in lines.items() if count > LONGEST} == {}
    assert len([name for name, count in lines.items() if count > LONG]) <= MANY_LONG


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    return set(done.stdout.split())


def test_importing_the_package_loads_neither_tensorflow_nor_numpy_nor_pytest():
    assert not loaded_by("import cnnprec") & {"tensorflow", "keras", "pytest", "numpy"}


def test_modules_that_promise_it_load_without_tensorflow():
    light = [m for m in MODULES if m.partition(".")[0] not in WITH_TENSORFLOW]
    names = ", ".join(f"cnnprec.{module}" for module in sorted({*light, *LIGHT}))
    assert not loaded_by(f"import {names}") & {"tensorflow", "keras"}


def test_reading_sessions_loads_no_driver_library():
    assert "pynvml" not in loaded_by("import cnnprec.records.read_sessions")


def test_the_check_itself_sees_tensorflow():
    assert {"tensorflow", "keras"} <= loaded_by("import cnnprec.training.model")


def test_exported_names_exist_and_are_the_documented_ones():
    assert sorted(cnnprec.__all__) == [
        "PRECISIONS",
        "Precision",
        "__version__",
        "build_model",
        "compare",
        "get_precision",
        "load_dataset",
        "measure",
        "parse_precisions",
        "read_sessions",
        "run_probes",
        "train",
    ]
    assert dir(cnnprec) == cnnprec.__all__
    assert all(hasattr(cnnprec, name) for name in cnnprec.__all__)


def test_unknown_name_of_the_package_is_refused_with_the_known_ones():
    with pytest.raises(AttributeError, match=r"no attribute 'mesure'.*measure"):
        cnnprec.mesure  # noqa: B018


def names_in_docstrings() -> list[tuple[str, str]]:
    """The dotted names of this package that docstrings mention, each with the file."""
    found = []
    for folder in ("cnnprec", "benchmarks", "tests"):
        for path in sorted((PACKAGE.parent / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    names = re.findall(r"`(cnnprec(?:\.\w+)+)`", node.value)
                    found += [(name, path.name) for name in names]
    return found


def test_names_in_docstrings_exist():
    for name, file in names_in_docstrings():
        parts = name.split(".")
        for cut in range(len(parts), 0, -1):
            try:
                value = importlib.import_module(".".join(parts[:cut]))
                break
            except ModuleNotFoundError:
                continue
        for part in parts[cut:]:
            assert hasattr(value, part) or part in getattr(value, "__annotations__", {}), (
                f"{file} mentions {name}, which is not there"
            )
            value = getattr(value, part, None)
