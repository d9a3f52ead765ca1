"""How a session ends: the signals that stop it, and RESULTS whatever else goes wrong."""

import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

import pytest

from cnnprec.pytest_plugin import saving, summary
from cnnprec.pytest_plugin.session import ASKED

_OURS = (summary, saving)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Has SIGTERM and SIGHUP stop the session as Ctrl-C does, where nobody else heeds them."""
    session.config.pluginmanager.register(_Ending(session))


class _Ending:
    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._begun = self._shown = False
        here = threading.current_thread() is threading.main_thread()
        # One that is ignored, as by nohup, stays so.
        self._signals = [
            number
            for number in (signal.SIGTERM, signal.SIGHUP)
            if here and signal.getsignal(number) is signal.SIG_DFL
        ]
        for number in self._signals:
            signal.signal(number, _interrupt)

    def pytest_unconfigure(self) -> None:
        for number in self._signals:
            signal.signal(number, signal.SIG_DFL)

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        # Until this is set, another Ctrl-C would let the session end as one that passed.
        self._session.exitstatus = pytest.ExitCode.INTERRUPTED
        if not self._session.config.option.fulltrace:
            # pytest would render every frame of TensorFlow, which takes seconds.
            excinfo.traceback = excinfo.traceback[-1:]
            excinfo.value.__context__ = None

    @pytest.hookimpl(tryfirst=True, wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        """Shows RESULTS and VERDICTS where a full disk or another Ctrl-C kept them back."""
        try:
            yield
        except (OSError, KeyboardInterrupt) as error:
            if isinstance(error, KeyboardInterrupt):
                session.exitstatus = pytest.ExitCode.INTERRUPTED
            else:  # such as that of --junitxml
                session.config.stash[ASKED].problems.append(f"NOT WRITTEN: {error}")
                session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
            if not self._shown:
                self._show()

    @pytest.hookimpl(tryfirst=True, wrapper=True)
    def pytest_terminal_summary(self) -> Iterator[None]:
        self._begun = True
        yield
        self._shown = True

    def _show(self) -> None:
        manager = self._session.config.pluginmanager
        reporter = manager.getplugin("terminalreporter")
        if reporter is not None:
            # What the others began to show is not begun again.
            others = [p for p in manager.get_plugins() if self._begun and p not in _OURS]
            manager.subset_hook_caller("pytest_terminal_summary", others)(
                terminalreporter=reporter,
                exitstatus=self._session.exitstatus,
                config=self._session.config,
            )


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    raise KeyboardInterrupt(f"stopped by {signal.Signals(number).name}")
