"""The files of ``--verdict-json`` and ``--report``: checked early, written at the end."""

from collections.abc import Iterator

import pytest

from cnnprec.pytest_plugin.session import ASKED, SESSION, Asked, usage_errors
from cnnprec.pytest_plugin.summary import found_history
from cnnprec.reports.page import PAGE, Report, clear, write_report
from cnnprec.reports.verdict_json import holds_verdict, make_way, write_verdict


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


@pytest.hookimpl(trylast=True, wrapper=True)  # after saving, and before the last lines
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Iterator[None]:
    """Writes the files of a session that came to its end, after it was saved."""
    try:
        yield
    finally:  # whatever other files a full disk has prevented
        if exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            _write(session.config, session.config.stash[ASKED])


def _write(config: pytest.Config, asked: Asked) -> None:
    target, folder, suite = config.option.verdict_json, config.option.report, config.stash[SESSION]
    if target is not None and asked.comparison is not None and asked.selection is not None:
        baseline = [chosen.path for chosen in asked.selection.sessions]
        session = asked.saved or config.option.benchmark_json
        try:
            write_verdict(target, asked.comparison, baseline, session)
        except OSError as error:
            problem = f"NOT WRITTEN: --verdict-json {target}: {error.strerror or error}"
            asked.problems.append(problem)
    if folder is not None and suite.records:
        try:
            past = None if asked.comparison is None else found_history(asked, suite)
            write_report(folder, Report(tuple(suite.records.values()), asked.comparison, past))
            asked.report = folder / PAGE
        except Exception as error:  # RESULTS are shown whatever it is
            asked.problems.append(f"NOT WRITTEN: --report {folder}: {error}")
