"""What a killed process left is removed, nothing else is; a folder that cannot be read is named."""

import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from cnnprec.records.read_sessions import read_sessions
from cnnprec.records.write_session import write_session
from cnnprec.records.write_whole import write_whole
from tests.support.sessions import TEXT, changed, put

OURS = [".0123456789abcdef.tmp", ".0002.claim", ".12345.claim"]
OTHERS = ["0123456789abcdef.tmp", ".mine.tmp", ".2.claim", "a.claim", ".0123456789abcdef.tmp.txt"]


@pytest.fixture
def left(tmp_path) -> Path:
    """A folder with files that were left there two days ago, and a folder."""
    old = time.time() - 2 * 86_400
    (tmp_path / ".fedcba9876543210.tmp").mkdir()
    for name in (*OURS, *OTHERS, ".fedcba9876543210.tmp"):
        if name[1] != "f":
            put(tmp_path / name, "")
        os.utime(tmp_path / name, (old, old))
    return tmp_path


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: write_session(folder, "a", changed()),
        lambda folder: write_whole(folder / "0001_a.json", "{}"),
    ],
)
def test_stale_files_of_ours_are_removed_and_no_others(left, write):
    put(left / ".fedcba9876543211.tmp", "")  # somebody is at work
    put(left / ".0007.claim", "")
    write(left)
    kept = {*OTHERS, ".fedcba9876543210.tmp", ".fedcba9876543211.tmp", ".0007.claim"}
    assert {path.name for path in left.iterdir()} == {*kept, "0001_a.json"}


@pytest.fixture
def closed():
    """A folder of sessions, with a subfolder that this user cannot list."""
    folder = Path(tempfile.mkdtemp())
    put(folder / "0001_a.json", TEXT)
    put(folder / "sub" / "0002_b.json", TEXT)
    (folder / "sub").chmod(0o000)
    folder.chmod(0o755)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)  # permissions do not hold for root
        yield folder
    finally:
        if root:
            os.seteuid(0)
        (folder / "sub").chmod(0o700)
        shutil.rmtree(folder)


@pytest.mark.parametrize("pattern", [None, "1", "a", "0001*"])
def test_subfolder_that_cannot_be_listed_is_named(closed, pattern):
    (session,), (skipped,) = read_sessions(closed, pattern)
    assert session.path.name == "0001_a.json"
    assert skipped.path == closed / "sub"
    assert skipped.reason.startswith("cannot be read: Permission denied")
