"""The file of ``--verdict-json``: checked before measuring, written when all else is done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from cnnprec.pytest_plugin.session import ASKED
from cnnprec.reports.verdict_json import make_way, write_verdict

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

_PROBLEM = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Refuses a file that could not be written hours later."""
    target = config.option.verdict_json
    if target is None or config.option.collectonly or hasattr(config, "workerinput"):
        return
    try:
        make_way(target)
    except ValueError as error:
        raise pytest.UsageError(f"--verdict-json {error}") from error


@pytest.hookimpl(trylast=True, wrapper=True)  # after saving, and before the last lines
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Iterator[None]:
    """Writes the verdicts of a session that came to its end, after it was saved."""
    yield
    config = session.config
    target, asked = config.option.verdict_json, config.stash[ASKED]
    ended = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    if target is None or asked.comparison is None or asked.selection is None or not ended:
        return
    baseline = [chosen.path for chosen in asked.selection.sessions]
    try:
        write_verdict(
            target, asked.comparison, baseline, asked.saved or config.option.benchmark_json
        )
    except OSError as error:
        config.stash[_PROBLEM] = f"--verdict-json {target}: {error.strerror or error}"
        if session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: TerminalReporter, config: pytest.Config
) -> Iterator[None]:
    """Says that the file could not be written, below everything else."""
    yield
    if _PROBLEM in config.stash:
        terminalreporter.write_line(f"NOT WRITTEN: {config.stash[_PROBLEM]}", red=True)
