"""Projects to run whole pytest sessions in: without a baseline, and with one."""

import json
import shutil

import pytest

# pytester forgets what a session imports, and TensorFlow cannot be imported twice.
import cnnprec.measurement.environment
import cnnprec.training.trainer
from cnnprec.verdicts.judge_numbers import Check
from cnnprec.verdicts.verdict import PRECISION_METRICS, SESSION_METRICS
from tests.support.project import CONFTEST, NOISE, REPOSITORY, Project
from tests.support.sessions import with_whole_records


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch) -> Project:
    """Without a baseline."""
    benchmarks = pytester.path / "benchmarks"
    benchmarks.mkdir()
    for name in ("test_numerics.py", "test_training.py", "test_verdict.py"):
        shutil.copy(REPOSITORY / "benchmarks" / name, benchmarks)
    (benchmarks / "conftest.py").write_text(CONFTEST)
    pytester.makeini("[pytest]\naddopts = -rs\njunit_family = xunit1\n")
    pytester.makeconftest('pytest_plugins = ["cnnprec.pytest_plugin"]')
    monkeypatch.delenv("CNNPREC_DATA_DIR", raising=False)
    # These sessions are no workers of pytest-xdist, though this test may run in one.
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)
    # A source file saved while the tests run is not what they are about.
    monkeypatch.setattr(cnnprec.measurement.environment, "code_digest", lambda: "0123456789ab")
    project = Project(pytester)
    project.plan()
    return project


@pytest.fixture(scope="session")
def one_session(tmp_path_factory) -> dict[str, str]:
    """The text of a saved session, kept for all tests once one of them has saved it."""
    return {}


@pytest.fixture
def saved(project: Project, one_session: dict[str, str]) -> Project:
    """With a baseline of six sessions of `single` and `half`."""
    if not one_session:
        project.run("--precision=single,half", "--benchmark-save=base").assert_outcomes(
            passed=2,
            deselected=(len(PRECISION_METRICS) + len(Check)) * 2 + len(SESSION_METRICS),
        )
        (path,) = project.files()
        one_session["text"] = path.read_text()
        path.unlink()
    project.folder.mkdir(parents=True, exist_ok=True)
    for number, factor in enumerate(NOISE, 1):
        plain = with_whole_records(json.loads(one_session["text"]))
        plain["datetime"] = f"2026-01-0{number}T00:00:00+00:00"
        for bench in plain["benchmarks"]:
            for entry in bench["extra_info"]["cnnprec"]["rounds"]:
                entry["seconds"] *= factor
                entry["cpu_seconds"] *= factor
        (project.folder / f"{number:04}_base.json").write_text(json.dumps(plain))
    return project
