"""Baselines and verdicts in pytest: saving sessions, picking a baseline, the verdict items.

Loaded by `cnnprec.pytest_plugin`. It takes ``--benchmark-save`` and ``--benchmark-compare``
over from pytest-benchmark: sessions are written whole or not at all, and a comparison that
cannot be made is refused before anything is measured. What a comparison comes to is decided
in `cnnprec.compare`; which sessions it is made with, in `cnnprec.baseline`.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cnnprec.baseline import (
    SavedSession,
    SaveError,
    Selection,
    Skipped,
    load_sessions,
    select,
    write_session,
)
from cnnprec.compare import (
    DEFAULT_MARGIN,
    DEFAULT_TOLERANCE,
    ENOUGH,
    METRICS,
    Comparison,
    Limits,
    Verdict,
    compare,
    parse_share,
)
from cnnprec.fingerprint import parse_vary
from cnnprec.machine import machine_id
from cnnprec.options import reported
from cnnprec.pytest_plugin import SESSION, Session
from cnnprec.record import Record
from cnnprec.report import verdicts

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

_UNSET_STORAGE = "file://./.benchmarks"  # pytest-benchmark's default
_ASKED = pytest.StashKey["_Asked"]()

_COMPLETENESS = ("completeness", "")
_SAVE_COMMAND = "pytest benchmarks/ --benchmark-save=baseline"


@dataclasses.dataclass
class _Asked:
    """What the user asked of baselines, and what came of it."""

    folder: Path | None
    comparing: bool
    pattern: str | None
    vary: frozenset[str] | None
    require_verdict: bool
    limits: Limits
    selection: Selection | None = None
    skipped: tuple[Skipped, ...] = ()
    comparison: Comparison | None = None
    failed: list[str] = dataclasses.field(default_factory=list)
    save_problem: str | None = None


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options of comparing to the group "cnnprec"."""
    group = parser.getgroup("cnnprec")
    group.addoption(
        "--vary",
        type=reported(parse_vary),
        metavar="NAMES",
        help="with --benchmark-compare: only these may differ from the baseline, such as driver or "
        "tensorflow,keras (default: all of the software may differ; it is listed)",
    )
    group.addoption(
        "--require-verdict",
        action="store_true",
        help="with --benchmark-compare: INCONCLUSIVE counts as a failure",
    )
    for name, default, what in (
        ("tolerance", DEFAULT_TOLERANCE, "slowdown up to which no failure is called"),
        ("margin", DEFAULT_MARGIN, "slowdown that must be excluded for a PASS"),
    ):
        group.addoption(
            f"--{name}",
            type=reported(parse_share),
            default=default,
            metavar="SHARE",
            help=f"with --benchmark-compare: {what}, such as 3%% or 0.03 "
            f"(default: {default * 100:g}%%)",
        )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Takes the options over before pytest-benchmark reads them."""
    option = config.option
    try:
        limits = Limits(option.tolerance, option.margin)
    except ValueError as error:
        raise pytest.UsageError(f"--tolerance, --margin: {error}") from error
    asked = _Asked(
        folder=None,
        comparing=False,
        pattern=None,
        vary=option.vary,
        require_verdict=option.require_verdict,
        limits=limits,
    )
    config.stash[_ASKED] = asked
    if config.pluginmanager.hasplugin("benchmark"):
        asked.folder = _folder(config)
        _check_outputs(config, asked.folder)
        _take_comparing_over(config, asked)
    if not asked.comparing and (asked.vary is not None or asked.require_verdict):
        name = "--require-verdict" if asked.require_verdict else "--vary"
        raise pytest.UsageError(f"{name} needs --benchmark-compare: there is no verdict without it")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Has sessions saved by this suite instead of by pytest-benchmark."""
    asked = session.config.stash[_ASKED]
    benchmarks = _benchmark_session(session.config)
    if benchmarks is not None and asked.folder is not None:
        benchmarks.storage = _Storage(asked.folder, asked, benchmarks.logger)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Gives a verdict one item for each metric; the precisions come from the plugin."""
    if {"metric", "comparison"} <= set(metafunc.fixturenames):
        metafunc.parametrize("metric", METRICS)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts the verdicts last, or leaves them out where nothing is compared."""
    judging = [item for item in items if _is_verdict(item)]
    if not judging:
        return
    items[:] = [item for item in items if not _is_verdict(item)]
    if config.stash[_ASKED].comparing:
        items.extend(judging)
    else:
        config.hook.pytest_deselected(items=judging)


@pytest.hookimpl(tryfirst=True)  # before the terminal asks for the lines below "collected"
def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuses a comparison that cannot be made, before the first training."""
    config = session.config
    asked, suite = config.stash[_ASKED], config.stash[SESSION]
    if not asked.comparing or config.option.collectonly or hasattr(config, "workerinput"):
        return
    names = [_precision_name(item) for item in session.items if _is_measured(item)]
    if not names:
        raise pytest.UsageError(
            "--benchmark-compare: no benchmark was selected, so nothing would be compared. "
            "Run: pytest benchmarks/ --benchmark-compare"
        )
    _check_verdicts_present(session.items, names)
    try:
        asked.selection, asked.skipped = _baseline(asked, suite, names)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Says what will be compared with, and what was left aside and why."""
    asked = config.stash[_ASKED]
    if asked.selection is None:
        return []
    names = [session.path.name for session in asked.selection.sessions]
    several = f"{len(names)} sessions of {asked.folder}, {names[0]} to {names[-1]}"
    return [
        "baseline: " + (several if len(names) > 1 else f"1 session of {asked.folder}, {names[0]}"),
        f"baseline: saved {_minute(asked.selection.sessions[0])} to "
        f"{_minute(asked.selection.sessions[-1])} UTC",
        *(f"baseline: SKIPPED {skipped.path.name}: {skipped.reason}" for skipped in asked.skipped),
        *_set_aside(asked.selection),
        *(f"changed: {difference}" for difference in asked.selection.changed),
    ]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Notes which tests failed; a session with a failed one is never a baseline."""
    report = yield
    if report.failed and not _is_verdict(item):
        item.config.stash[_ASKED].failed.append(report.nodeid)
    return report


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Iterator[None]:
    """Saves nothing of a session that was interrupted, and fails one that could not be saved."""
    if exitstatus == pytest.ExitCode.INTERRUPTED:
        benchmarks = _benchmark_session(session.config)
        if benchmarks is not None:
            benchmarks.save = benchmarks.autosave = benchmarks.json = None
    yield
    if session.config.stash[_ASKED].save_problem and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(
    terminalreporter: TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    """Prints VERDICTS below RESULTS, and a problem of saving below that."""
    asked = config.stash[_ASKED]
    if asked.comparison is not None:
        terminalreporter.section("VERDICTS")
        for line in verdicts(asked.comparison):
            terminalreporter.write_line(line)
    elif asked.selection is not None and exitstatus != pytest.ExitCode.OK:
        terminalreporter.write_line("No verdict: the session ended before it.")
    if asked.save_problem:
        terminalreporter.write_line(f"NOT SAVED: {asked.save_problem}", red=True)


@pytest.hookimpl(trylast=True, optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Adds what failed and the verdict, which keep a session from becoming a baseline."""
    asked = config.stash[_ASKED]
    block = output_json.setdefault("cnnprec", {})
    block["failed"] = bool(asked.failed)
    block["failed_tests"] = list(asked.failed)
    block["verdict"] = None if asked.comparison is None else asked.comparison.verdict.value


@pytest.fixture(scope="session")
def comparison(pytestconfig: pytest.Config, prepared: Any) -> Comparison:  # noqa: ARG001
    """The verdicts on what this session measured; asking for it makes a test a verdict."""
    asked, suite = pytestconfig.stash[_ASKED], pytestconfig.stash[SESSION]
    if asked.comparison is None:
        if asked.selection is None:
            pytest.fail("there is no baseline: run with --benchmark-compare", pytrace=False)
        asked.comparison = compare(
            [session.records for session in asked.selection.sessions],
            suite.records,
            asked=suite.asked,
            limits=asked.limits,
            changed=asked.selection.changed,
        )
    return asked.comparison


@pytest.fixture(scope="session")
def require_verdict(pytestconfig: pytest.Config) -> bool:
    """Whether INCONCLUSIVE counts as a failure."""
    return pytestconfig.stash[_ASKED].require_verdict


def _folder(config: pytest.Config) -> Path | None:
    """Where sessions are saved; None if that is no folder."""
    option = config.option
    if option.benchmark_storage == _UNSET_STORAGE:
        folder = config.rootpath / "benchmarks" / "baselines" / machine_id(option.device)
        option.benchmark_storage = f"file://{folder}"
    scheme, separator, path = option.benchmark_storage.partition("://")
    if not separator:
        return Path(option.benchmark_storage)
    if scheme == "file":
        return Path(path)
    if option.benchmark_compare or option.benchmark_save or option.benchmark_autosave:
        raise pytest.UsageError(
            f"--benchmark-storage {option.benchmark_storage}: baselines are files; give a folder, "
            "such as --benchmark-storage=file://baselines"
        )
    return None


def _take_comparing_over(config: pytest.Config, asked: _Asked) -> None:
    option = config.option
    if option.benchmark_compare_fail:
        raise pytest.UsageError(
            "--benchmark-compare-fail judges the rounds of one process, which raises false alarms "
            "and misses changes. Use --benchmark-compare with --tolerance and --margin, such as "
            "--tolerance 5% --margin 15%."
        )
    wanted = option.benchmark_compare
    if not wanted:
        return
    option.benchmark_compare = []  # or pytest-benchmark would compare with the latest file
    asked.comparing = True
    asked.pattern = None if wanted is True else wanted
    if asked.pattern and Path(asked.pattern).is_dir():
        raise pytest.UsageError(
            f"--benchmark-compare took {asked.pattern} for the sessions to compare with. "
            "Write the option last, or give it a number or a name: --benchmark-compare=0003"
        )
    untimed = "nothing would be timed; leave one of the two out"
    for name, given, why in (
        ("--benchmark-disable", option.benchmark_disable and not option.benchmark_enable, untimed),
        ("--benchmark-skip", option.benchmark_skip and not option.benchmark_only, untimed),
        ("--benchmark-only", option.benchmark_only, "it would skip the verdicts; leave it out"),
        ("-n", getattr(option, "dist", "no") != "no", untimed),
    ):
        if given and not hasattr(config, "workerinput"):
            raise pytest.UsageError(f"--benchmark-compare and {name} exclude each other: {why}")


def _check_verdicts_present(items: list[pytest.Item], names: list[str]) -> None:
    """A verdict that -k or a file name leaves out would be a pass in silence."""
    due = [(metric, name) for name in names for metric in METRICS] + [_COMPLETENESS]
    found = {_judged(item) for item in items if _is_verdict(item)}
    missing = [
        f"{metric} of {name or 'the session'}"
        for metric, name in due
        if (metric, name) not in found
    ]
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise pytest.UsageError(
            f"--benchmark-compare: {len(missing)} verdicts are not among the selected tests "
            f"({shown}). Run the folder benchmarks/ whole; choose with --precision, not with -k."
        )


def _baseline(
    asked: _Asked, suite: Session, names: list[str]
) -> tuple[Selection, tuple[Skipped, ...]]:
    """The sessions to compare with.

    Raises:
        ValueError: There are none, or too few where a verdict is required.
    """
    folder = asked.folder
    prepared = suite.prepared
    if folder is None or prepared is None:
        raise ValueError("--benchmark-compare: there is no folder with baselines")
    saved, skipped = load_sessions(folder, asked.pattern)
    noted = "".join(f"\n  skipped {s.path.name}: {s.reason}" for s in skipped)
    if not saved:
        which = f" that match {asked.pattern!r}" if asked.pattern else ""
        raise ValueError(
            f"NO_BASELINE: there are no saved sessions{which} in {folder}. Save {ENOUGH} or more "
            f"first, each with: {_SAVE_COMMAND}{noted}"
        )
    current = {
        precision.name: Record(
            precision=precision,
            config=suite.config,
            data=prepared.data_info,
            environment=prepared.environment,
            jit_compiled=False,  # not known before the model is built, and not compared
            warm_up_seconds=None,
            rounds=(),
        )
        for precision in suite.precisions
        if precision.name in names
    }
    selection = select(saved, current, asked.vary)
    if not selection.sessions:
        verdict = Verdict.INCOMPARABLE if selection.refused else Verdict.NO_BASELINE
        raise ValueError(
            f"{verdict}: none of the {len(saved)} saved sessions in {folder} can be compared with."
            f"{noted}" + "".join(f"\n  {line}" for line in _set_aside(selection)) + "\n"
            f"Measure as they were measured, or save {ENOUGH} sessions as things are now, each "
            f"with: {_SAVE_COMMAND}"
        )
    if asked.require_verdict:
        _check_enough(selection, current)
    return selection, skipped


def _check_enough(selection: Selection, current: Mapping[str, Record]) -> None:
    counts = {name: sum(name in s.records for s in selection.sessions) for name in current}
    few = {name: count for name, count in counts.items() if count < ENOUGH}
    if few:
        raise ValueError(
            f"--require-verdict: {ENOUGH} comparable sessions are needed and there are fewer for "
            + ", ".join(f"{name} ({count})" for name, count in few.items())
            + f". Run {ENOUGH - min(few.values())} more times: {_SAVE_COMMAND}"
        )


def _set_aside(selection: Selection) -> list[str]:
    lines = [f"baseline: not used {s.path.name}: {reason}" for s, reason in selection.unfit]
    for session, found in selection.refused:
        listed = "; ".join(str(difference) for difference in found)
        lines.append(f"baseline: not comparable {session.path.name}: {listed}")
    return lines


def _check_outputs(config: pytest.Config, folder: Path | None) -> None:
    """Tries to write where the session will be written hours later."""
    option = config.option
    if folder is not None and (option.benchmark_save or option.benchmark_autosave):
        _check_writable(folder, "the folder for baselines", "--benchmark-storage")
    if option.benchmark_json:
        target = Path(option.benchmark_json)
        _check_writable(target.parent, f"the folder for {target.name}", "--benchmark-json")


def _check_writable(folder: Path, what: str, option: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise pytest.UsageError(
            f"{what} cannot be written: {folder} ({error.strerror}). "
            f"Make it writable or choose another with {option}."
        ) from error


class _Storage:
    """Stands where pytest-benchmark keeps its file storage, and saves atomically."""

    def __init__(self, folder: Path, asked: _Asked, logger: Any) -> None:
        self._folder = folder
        self._asked = asked
        self._logger = logger

    def __str__(self) -> str:
        return str(self._folder)

    def save(self, output_json: Mapping[str, Any], save: str) -> None:
        try:
            path = write_session(self._folder, save, output_json)
        except SaveError as error:
            self._asked.save_problem = str(error)
        else:
            self._logger.info(f"Saved benchmark data in: {path}")


def _benchmark_session(config: pytest.Config) -> Any:
    # Private to pytest-benchmark; tests/test_plugin.py fails if it changes.
    return getattr(config, "_benchmarksession", None)


def _minute(session: SavedSession) -> str:
    return f"{session.saved_at:%Y-%m-%d %H:%M}"


def _is_verdict(item: pytest.Item) -> bool:
    return "comparison" in getattr(item, "fixturenames", ())


def _is_measured(item: pytest.Item) -> bool:
    return "measure" in getattr(item, "fixturenames", ())


def _judged(item: pytest.Item) -> tuple[str, str]:
    """The metric and the precision that a verdict is about."""
    return _parameters(item).get("metric", _COMPLETENESS[0]), _precision_name(item)


def _precision_name(item: pytest.Item) -> str:
    return str(_parameters(item).get("precision", ""))


def _parameters(item: pytest.Item) -> Mapping[str, Any]:
    return getattr(getattr(item, "callspec", None), "params", {})
