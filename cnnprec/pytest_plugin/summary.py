"""The last lines of a session: RESULTS and VERDICTS, and GitHub's copy of them."""

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from cnnprec.machine.cpu import usable_cores
from cnnprec.pytest_plugin.session import ASKED, SESSION, Asked, Session
from cnnprec.records.read_sessions import read_sessions
from cnnprec.reports.github import tell_github
from cnnprec.reports.history import summary
from cnnprec.reports.page import Report, markdown
from cnnprec.reports.results import results
from cnnprec.reports.verdicts import verdicts
from cnnprec.text import coloured
from cnnprec.verdicts.history import History, history

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


def pytest_report_header() -> list[str]:
    """Warns before minutes are spent on a busy machine."""
    load, cores = os.getloadavg()[0], usable_cores()
    busy = f"BUSY: the load average is {load:.1f} on {cores} cores; other work makes times noisy"
    return [busy] if load > cores else []


def found_history(asked: Asked, session: Session) -> History:
    """The sessions saved beside this one, in a row; looked for once."""
    if asked.history is None:
        saved, _ = read_sessions(asked.folder or "")
        asked.history = history(saved, session.records)
    return asked.history


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Drops the last lines of hypothesis where no test used it: it would load for a second."""
    manager = session.config.pluginmanager
    if "hypothesis" not in sys.modules and manager.hasplugin("hypothesispytest"):
        manager.unregister(name="hypothesispytest")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: "TerminalReporter", exitstatus: int, config: pytest.Config
) -> Iterator[None]:
    """Prints below pytest's own summary, so that the answer is on the last screen."""
    if exitstatus != pytest.ExitCode.INTERRUPTED:
        yield
    _show(terminalreporter, exitstatus, config)
    if exitstatus == pytest.ExitCode.INTERRUPTED:
        yield  # other plugins load for seconds what they then do not need


def _show(terminalreporter: "TerminalReporter", exitstatus: int, config: pytest.Config) -> None:
    session, asked = config.stash[SESSION], config.stash[ASKED]
    writer = config.get_terminal_writer()
    width = writer.fullwidth if terminalreporter.isatty or "COLUMNS" in os.environ else None
    judged = []
    if asked.comparison is not None:
        judged = [*verdicts(asked.comparison, width), *summary(found_history(asked, session))]
    found, soaks = results(session.records.values(), width), list(map(str, session.soaks))
    shown = {"RESULTS": found, "SOAK": soaks, "VERDICTS": judged}
    for title, lines in shown.items():
        if lines:
            terminalreporter.section(title)
        for line in lines:
            terminalreporter.write_line(coloured(line) if writer.hasmarkup else line)
    if asked.report is not None:
        terminalreporter.write_line(f"report: {asked.report}")
    if session.records and exitstatus == pytest.ExitCode.INTERRUPTED:
        missing = [p.name for p in session.precisions if p.name not in session.records]
        left = f"; not measured: {', '.join(missing)}" if missing else ""
        terminalreporter.write_line(f"Interrupted: nothing was saved{left}.")
    if asked.selection is not None and asked.comparison is None and exitstatus:
        terminalreporter.write_line("No verdict: the session ended before it.")
    if session.records:
        page = markdown(Report(tuple(session.records.values()), asked.comparison))
        tell_github(asked.comparison, page, terminalreporter.write_line)
