"""The files of a session: where to and when they are written, and what is never saved."""

import functools
import os
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from pytest_benchmark.utils import safe_dumps

import cnnprec
from cnnprec.machine.names import machine_id
from cnnprec.pytest_plugin.session import ASKED, SESSION, found_history, is_verdict, usage_errors
from cnnprec.records.write_session import SaveError, check_name, take_common, write_session
from cnnprec.records.write_whole import write_whole
from cnnprec.reports.page import PAGE, Report, clear, write_report
from cnnprec.reports.verdict_json import holds_verdict, judgements, make_way, write_verdict
from cnnprec.text import duration

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

_AHEAD = pytest.StashKey[float]()
_UNSET_STORAGE = "file://./.benchmarks"  # pytest-benchmark's default


def pytest_configure(config: pytest.Config) -> None:
    """Refuses files that could not be written hours later."""
    option = config.option
    if option.collectonly or hasattr(config, "workerinput"):
        return
    if option.verdict_json is not None:
        with usage_errors("--verdict-json "):
            make_way(option.verdict_json, "verdict", holds_verdict)
    if option.report is not None:
        with usage_errors("--report: "):
            clear(option.report)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Has sessions saved by this suite instead of by pytest-benchmark."""
    session.config.stash[_AHEAD] = _ahead()
    if (benchmarks := benchmark_session(session.config)) is not None:
        benchmarks.save_json = functools.partial(_write_json, session.config)
        if session.config.stash[ASKED].folder is not None:
            benchmarks.storage = SimpleNamespace(save=functools.partial(_save, session.config))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Notes which tests failed; a session with a failed one is never a baseline."""
    report = yield
    if report.failed and not is_verdict(item):
        item.config.stash[ASKED].failed.append(report.nodeid)
    return report


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Iterator[None]:
    """Saves nothing of a session that was interrupted, and fails one that misses an output."""
    if exitstatus == pytest.ExitCode.INTERRUPTED:
        benchmarks = benchmark_session(session.config)
        if benchmarks is not None:
            benchmarks.save = benchmarks.autosave = benchmarks.json = None
    yield
    if session.config.stash[ASKED].problems and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


# After saving, and before the last lines.
@pytest.hookimpl(specname="pytest_sessionfinish", trylast=True, wrapper=True)
def pytest_write_files(session: pytest.Session, exitstatus: int) -> Iterator[None]:
    """Writes ``--verdict-json`` and ``--report`` of a session that came to its end."""
    config = session.config
    asked, suite, option = config.stash[ASKED], config.stash[SESSION], config.option
    try:
        yield
    finally:  # whatever other files a full disk has prevented
        ended = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        target, records = option.verdict_json, tuple(suite.records.values())
        if ended and target is not None and asked.comparison is not None and asked.selection:
            baseline = [chosen.path for chosen in asked.selection.sessions]
            try:
                write_verdict(
                    target, asked.comparison, baseline, asked.saved or option.benchmark_json
                )
            except OSError as error:
                problem = f"NOT WRITTEN: --verdict-json {target}: {error.strerror or error}"
                asked.problems.append(problem)
        if ended and option.report is not None and records:
            try:
                past = None if asked.comparison is None else found_history(asked, suite)
                write_report(option.report, Report(records, asked.comparison, past))
                asked.report = option.report / PAGE
            except Exception as error:  # RESULTS are shown whatever it is
                asked.problems.append(f"NOT WRITTEN: --report {option.report}: {error}")


@pytest.hookimpl(trylast=True, optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Adds what belongs to the session as a whole; what failed keeps it from being a baseline."""
    asked = config.stash[ASKED]
    found = asked.comparison
    output_json["cnnprec"] = {
        "version": cnnprec.__version__,
        "common": take_common(output_json["benchmarks"]),
        "order_seed": config.stash[SESSION].order_seed,
        "failed": bool(asked.failed),
        "failed_tests": list(asked.failed),
        "verdict": None if found is None else found.verdict.value,
        "judgements": [] if found is None else judgements(found),
    }


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: "TerminalReporter", config: pytest.Config
) -> Iterator[None]:
    """Says above everything else that dates are wrong, and below it what could not be written."""
    moved = _ahead() - config.stash[_AHEAD]
    if abs(moved) > 5:  # setting it right slowly moves it by 1.8 s in an hour
        by = f"{'forward' if moved > 0 else 'back'} by {duration(abs(moved))}"
        terminalreporter.write_line(
            f"CLOCK: the wall clock jumped {by} during this session. What was measured is right, "
            "by another clock; check the date of what was saved.",
            yellow=True,
        )
    yield
    for problem in config.stash[ASKED].problems:
        terminalreporter.write_line(problem, red=True)


def baseline_folder(config: pytest.Config) -> Path | None:
    """Where sessions are saved; None if that is no folder."""
    option = config.option
    if option.benchmark_storage == _UNSET_STORAGE:
        # Without settings of the user's own, pytest's root may be an installed wheel.
        root = config.rootpath if config.inipath else config.invocation_params.dir
        folder = root / "benchmarks" / "baselines" / machine_id(option.device)
        option.benchmark_storage = f"file://{folder}"
    scheme, separator, path = option.benchmark_storage.partition("://")
    if not separator or scheme == "file":
        return Path(path if separator else scheme)
    if option.benchmark_compare or option.benchmark_save or option.benchmark_autosave:
        raise pytest.UsageError(
            f"--benchmark-storage {option.benchmark_storage}: baselines are files; give a folder, "
            "such as --benchmark-storage=file://baselines"
        )
    return None


def check_outputs(config: pytest.Config, folder: Path | None) -> None:
    """Tries to write where the session will be written hours later; ValueError if it cannot be."""
    option = config.option
    if folder is not None and (option.benchmark_save or option.benchmark_autosave):
        check_name(option.benchmark_save or option.benchmark_autosave)
        _check_writable(folder, "the folder for baselines", "--benchmark-storage")
    if option.benchmark_json:
        target = option.benchmark_json
        _check_writable(target.parent, f"the folder for {target.name}", "--benchmark-json")


def _check_writable(folder: Path, what: str, option: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        os.listdir(folder)  # noqa: PTH208 - only whether it can be
    except OSError as error:
        raise ValueError(
            f"{what} cannot be written and listed: {folder} ({error.strerror}). "
            f"Make it writable and readable or choose another with {option}."
        ) from error


def _ahead() -> float:
    """How far the wall clock is ahead of one that nobody sets and that runs on in sleep."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def _save(config: pytest.Config, output_json: Mapping[str, Any], name: str) -> None:
    """Saves a session in place of pytest-benchmark's storage."""
    asked = config.stash[ASKED]
    try:
        asked.saved = write_session(asked.folder or Path(), name, output_json)
        benchmark_session(config).logger.info(f"Saved benchmark data in: {asked.saved}")
    except SaveError as error:
        asked.problems.append(f"NOT SAVED: {error}")


def _write_json(config: pytest.Config, output_json: Mapping[str, Any]) -> None:
    """Writes the file of ``--benchmark-json`` in place of pytest-benchmark's `save_json`."""
    path: Path = config.option.benchmark_json
    text = safe_dumps(output_json, ensure_ascii=True, indent=4)  # type: ignore[no-untyped-call]
    try:
        if path.exists() and not path.is_file():
            path.write_text(text)  # a pipe or a device has no content to replace
        else:
            write_whole(path.resolve(), text)
        benchmark_session(config).logger.info(f"Wrote benchmark data in: {path}", purple=True)
    except OSError as error:
        problem = f"NOT WRITTEN: --benchmark-json {path}: {error.strerror or error}"
        config.stash[ASKED].problems.append(problem)


def benchmark_session(config: pytest.Config) -> Any:
    """What pytest-benchmark keeps of a session; None without that plugin."""
    # Private to it; tests/pytest_plugin/test_benchmarks.py fails if it changes.
    return getattr(config, "_benchmarksession", None)
