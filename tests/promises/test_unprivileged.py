"""A user without rights and without HOME, in the C locale, measures as any other does."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cnnprec.cli.main import main
from tests.pytest_plugin.test_whole_measurement import SMALL

NOBODY = 65534
FILE = """
import os

import pytest


def test_it_is_nobody():
    assert os.geteuid() == 65534
    with pytest.raises(PermissionError):
        open("/etc/cnnprec", "w")


@pytest.mark.precision_benchmark
def test_training(precision, measure):
    measure(precision)
"""


@pytest.fixture
def folder():
    found = Path(tempfile.mkdtemp())
    os.chown(found, NOBODY, NOBODY)
    yield found
    shutil.rmtree(found)


def runs(command: list[str]) -> bool:
    """Whether this interpreter can be started so."""
    command = [*command, "env", "-i", sys.executable, "-c", "import numpy"]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.skipif(not shutil.which("setpriv"), reason="there is no setpriv (util-linux)")
def test_nobody_without_home_in_the_c_locale_measures_and_saves(folder, capsys):
    (folder / "test_it.py").write_text(FILE)
    nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    # Root's interpreter may lie where only root can read: reading, and no more, stays permitted.
    reading = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
    if not runs(nobody):
        nobody += reading
    if not runs(nobody):
        pytest.skip("another user cannot run this interpreter")
    root = str(Path(main.__code__.co_filename).parents[2])
    done = subprocess.run(
        [
            *(*nobody, "env", "-i", "LC_ALL=C", f"PYTHONPATH={root}", f"TMPDIR={folder}"),
            *(sys.executable, "-m", "pytest", "-p", "cnnprec.pytest_plugin", *SMALL),
            *("--precision=single", "--benchmark-save=x", "--benchmark-storage=file://kept"),
        ],
        cwd=folder,
        capture_output=True,
        timeout=120,
    )
    text = done.stdout.decode("utf-8") + done.stderr.decode("utf-8")
    assert done.returncode == 0, text
    assert "2 passed" in text
    assert "RESULTS" in text
    assert "\N{PLUS-MINUS SIGN}" in text
    (kept,) = (folder / "kept").iterdir()
    assert kept.stat().st_uid == NOBODY
    assert main(["report", str(kept)]) == 0
    assert "single" in capsys.readouterr().out
