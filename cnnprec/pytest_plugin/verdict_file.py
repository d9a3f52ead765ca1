"""The file of ``--verdict-json``: checked before measuring, written when all else is done."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cnnprec.pytest_plugin.session import ASKED, usage_errors
from cnnprec.reports.verdict_json import make_way, write_verdict


def pytest_configure(config: pytest.Config) -> None:
    """Refuses a file that could not be written hours later."""
    target = config.option.verdict_json
    if target is not None and not config.option.collectonly and not hasattr(config, "workerinput"):
        with usage_errors("--verdict-json "):
            make_way(target)


@pytest.hookimpl(trylast=True, wrapper=True)  # after saving, and before the last lines
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Iterator[None]:
    """Writes the verdicts of a session that came to its end, after it was saved."""
    try:
        yield
    finally:  # whatever other files a full disk has prevented
        _write(session.config, exitstatus)


def _write(config: pytest.Config, exitstatus: int) -> None:
    target, asked = config.option.verdict_json, config.stash[ASKED]
    ended = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    if target is None or asked.comparison is None or asked.selection is None or not ended:
        return
    baseline = [chosen.path for chosen in asked.selection.sessions]
    session = asked.saved or config.option.benchmark_json
    try:
        write_verdict(target, asked.comparison, baseline, session)
    except OSError as error:
        asked.problems.append(f"NOT WRITTEN: --verdict-json {target}: {error.strerror or error}")
