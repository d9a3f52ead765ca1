"""What is left of a session that ends before its time: a file, and last words on stderr."""

import contextlib
import faulthandler
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from cnnprec.measurement.supported import step_bytes
from cnnprec.pytest_plugin.session import ASKED, SESSION
from cnnprec.records.record import Record
from cnnprec.records.write_whole import write_whole
from cnnprec.reports.results import results

HUNG = 6  # exit code of a session that hung; pytest's own end at 5

_FILE, _WORDS = pytest.StashKey[Path](), pytest.StashKey[int]()


@contextlib.contextmanager
def uncaptured(config: pytest.Config) -> Iterator[None]:
    """Lets what is written reach the terminal."""
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        yield


def prepare_words(config: pytest.Config) -> None:
    """Starts a shell that shows in the end what was not taken back, and the last captured lines."""
    words, captured = os.memfd_create("last-words"), os.dup(2)
    with uncaptured(config):
        script = f"cat; [ -s /dev/fd/{words} ] || exit 0; cat /dev/fd/{words} >&2"
        if not os.path.samestat(os.fstat(2), os.fstat(captured)):
            script += f"; echo The last lines of its output: >&2; tail -n 20 /dev/fd/{captured} >&2"
        shell = subprocess.Popen(  # noqa: S603 - nothing of it comes from outside
            ["/bin/sh", "-c", script],
            stdin=subprocess.PIPE,
            pass_fds=(words, captured),
            start_new_session=True,  # a Ctrl-C is not for it
        )
    os.close(captured)

    def end() -> None:
        say(config, "")
        shell.communicate()
        os.close(words)

    config.stash[_WORDS] = words
    config.add_cleanup(end)


def say(config: pytest.Config, text: str) -> None:
    """Replaces the last words; the empty text takes them back."""
    if _WORDS in config.stash:
        with contextlib.suppress(OSError):
            os.truncate(config.stash[_WORDS], os.pwrite(config.stash[_WORDS], text.encode(), 0))


def keep(config: pytest.Config) -> Callable[[Record], None]:
    """What takes the records of a session as they grow."""
    records, option, folder = config.stash[SESSION].records, config.option, None
    if option.benchmark_save or option.benchmark_autosave:
        folder = config.stash[ASKED].folder
    elif option.benchmark_json:
        folder = option.benchmark_json.parent
    if folder is not None:
        config.stash[_FILE] = folder.absolute() / f"unfinished-{os.getpid()}.session"

    def take(record: Record) -> None:
        records[record.precision.name] = record
        if folder is not None:
            rows = [
                {"name": name, "extra_info": {"cnnprec": known.to_dict()}}
                for name, known in records.items()
            ]
            now = datetime.now(timezone.utc).isoformat()
            text = json.dumps({"benchmarks": rows, "datetime": now, "cnnprec": {"failed": True}})
            with contextlib.suppress(OSError):  # it is told where the session itself is saved
                write_whole(config.stash[_FILE], text)
        say(config, last_text(config))

    return take


def last_text(config: pytest.Config, what: str = "") -> str:
    """What there is to say where the session ends before its time, because of `what`."""
    session = config.stash[SESSION]
    batch = session.config.batch_size
    needed = step_bytes(session.precisions, batch) / 1e6
    what = what or (
        f"DIED: the process was killed. Was it for memory? A training step takes about "
        f"{needed:.0f} MB, TensorFlow 1 GB; lower --batch-size {batch} or name fewer --precision"
    )
    lines = ["", *results(session.records.values()), "", f"{what}."]
    if _FILE in config.stash:
        lines.append(f"What was measured is kept: cnnprec report {config.stash[_FILE]}")
    return "\n".join([*lines, ""])


def end_hung(config: pytest.Config, what: str) -> None:
    """Shows RESULTS so far and where every thread is, and leaves at once."""
    say(config, "")
    with uncaptured(config):
        sys.stdout.write(last_text(config, f"HUNG: {what}"))
        sys.stdout.flush()
        faulthandler.dump_traceback(sys.__stderr__ or sys.stderr)
        os._exit(HUNG)


@pytest.hookimpl(tryfirst=True)  # after pytest-benchmark has saved, and before other files
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Removes the file, unless the session could not be saved."""
    file, problems = session.config.stash.get(_FILE, None), session.config.stash[ASKED].problems
    if file is not None and problems and file.exists():
        problems.append(f"What was measured is kept: cnnprec report {file}")
    elif file is not None:
        file.unlink(missing_ok=True)
