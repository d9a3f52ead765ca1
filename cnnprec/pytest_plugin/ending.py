"""How a session ends: what stops it, and RESULTS and VERDICTS whatever else goes wrong."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import pytest

from cnnprec.pytest_plugin.session import ASKED, SESSION, found_history
from cnnprec.reports.github import tell_github
from cnnprec.reports.history import summary
from cnnprec.reports.page import Report, markdown
from cnnprec.reports.results import results
from cnnprec.reports.verdicts import verdicts
from cnnprec.text import coloured

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


def pytest_sessionstart(session: pytest.Session) -> None:
    """Has SIGTERM and SIGHUP stop the session as Ctrl-C does, where nobody else heeds them."""
    session.config.pluginmanager.register(_Ending(session))
    here = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGTERM, signal.SIGHUP) if here else ()
    # One that is ignored, as by nohup, stays so.
    taken = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, _interrupt)

    def give_back() -> None:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)

    session.config.add_cleanup(give_back)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    raise KeyboardInterrupt(f"stopped by {signal.Signals(number).name}")


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


class _Ending:
    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._begun = self._shown = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        # Until this is set, another Ctrl-C would let the session end as one that passed.
        self._session.exitstatus = pytest.ExitCode.INTERRUPTED
        if not self._session.config.option.fulltrace:
            # pytest would render every frame of TensorFlow, which takes seconds.
            excinfo.traceback = excinfo.traceback[-1:]
            excinfo.value.__context__ = None

    @pytest.hookimpl(tryfirst=True, wrapper=True)
    def pytest_terminal_summary(self) -> Iterator[None]:
        self._begun = True
        yield
        self._shown = True

    @pytest.hookimpl(tryfirst=True, wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        """Shows RESULTS and VERDICTS where a full disk or another Ctrl-C kept them back."""
        config = session.config
        try:
            yield
        except (OSError, KeyboardInterrupt) as error:
            if isinstance(error, KeyboardInterrupt):
                session.exitstatus = pytest.ExitCode.INTERRUPTED
            else:  # such as that of --junitxml
                config.stash[ASKED].problems.append(f"NOT WRITTEN: {error}")
                session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
            manager = config.pluginmanager
            reporter = manager.getplugin("terminalreporter")
            if reporter is not None and not self._shown:
                # What the others began to show is not begun again.
                ours = {f"cnnprec.pytest_plugin.{name}" for name in ("ending", "saving")}
                known = manager.list_name_plugin() if self._begun else []
                others = [plugin for name, plugin in known if name not in ours]
                manager.subset_hook_caller("pytest_terminal_summary", others)(
                    terminalreporter=reporter, exitstatus=session.exitstatus, config=config
                )


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
