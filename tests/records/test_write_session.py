"""Writing sessions whole, whatever happens meanwhile."""

import contextlib
import dataclasses
import errno
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_benchmark.storage.file import FileStorage

from cnnprec.precision.precisions import PRECISIONS
from cnnprec.records import write_session as writing
from cnnprec.records import write_whole
from cnnprec.records.read_sessions import read_session, read_sessions
from cnnprec.records.write_session import SaveError, take_common, write_session
from tests.support.session_bytes import MOST_BYTES, benchmark_bytes
from tests.support.sessions import NEWEST, changed, files, put


def output() -> dict:
    """What pytest-benchmark hands over: with objects that are not JSON, and ballast."""
    plain = changed()
    plain["machine_info"]["cpu"]["flags"] = ["avx", "sse"] * 100
    for benchmark in plain["benchmarks"]:
        benchmark["params"] = {"precision": PRECISIONS[benchmark["param"]]}
        benchmark["stats"]["data"] = [0.1] * 3
    return plain


def test_written_session_is_read_back_whole(tmp_path):
    path = write_session(tmp_path / "new" / "folder", "base", output())
    assert path == tmp_path / "new" / "folder" / "0001_base.json"
    session, original = read_session(path), read_session(NEWEST)
    assert repr(dict(session.records)) == repr(dict(original.records))
    assert dataclasses.replace(
        session, path=original.path, name=original.name, records={}
    ) == dataclasses.replace(original, records={})


def test_writing_drops_only_what_nobody_reads_again(tmp_path):
    plain = output()
    before = repr(plain)
    written = json.loads(write_session(tmp_path, "base", plain).read_text())
    assert repr(plain) == before
    del plain["machine_info"]["cpu"]["flags"]
    for benchmark in plain["benchmarks"]:
        benchmark["params"] = {"precision": benchmark["param"]}
    assert written == plain


def test_what_all_records_repeat_is_written_once_and_read_back(tmp_path):
    plain = output()
    whole = read_session(write_session(tmp_path, "base", plain)).records
    common = take_common(plain["benchmarks"])
    assert sorted(common) == ["config", "data", "environment"]
    plain["cnnprec"]["common"] = common
    path = write_session(tmp_path, "base", plain)
    assert dict(read_session(path).records) == dict(whole)
    assert path.read_text().count('"environment"') == 1


def test_what_one_record_has_by_itself_stays_in_all(tmp_path):
    plain = output()
    plain["benchmarks"][1]["extra_info"]["cnnprec"]["environment"]["commit"] = "another"
    plain["benchmarks"].append({"name": "overhead", "extra_info": {}})
    plain["cnnprec"]["common"] = take_common(plain["benchmarks"])
    assert "environment" not in plain["cnnprec"]["common"]
    records = read_session(write_session(tmp_path, "base", plain)).records
    assert records["half"].environment.commit == "another" != records["single"].environment.commit


def test_pytest_benchmark_itself_still_reads_what_is_written(tmp_path):
    path = write_session(tmp_path, "base", output())
    ((found, plain),) = FileStorage(tmp_path, logging.getLogger("test")).load()
    assert str(found) == path.name
    assert [benchmark["name"] for benchmark in plain["benchmarks"]] == [
        "test_training[single]",
        "test_training[half]",
    ]


def test_a_benchmark_stays_below_the_limit(tmp_path):
    sizes = benchmark_bytes(tmp_path, output())
    assert list(sizes) == ["test_training[single]", "test_training[half]"]
    assert max(sizes.values()) <= MOST_BYTES


def test_a_large_benchmark_is_measured_and_written_all_the_same(tmp_path):
    plain = output()
    plain["benchmarks"][0]["stats"]["data"] = [0.123456789] * 2000
    assert benchmark_bytes(tmp_path, plain)["test_training[single]"] > MOST_BYTES
    assert read_session(write_session(tmp_path, "base", plain)).records


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_cannot_hold_is_saved_as_a_word(tmp_path, value):
    plain = output()
    plain["benchmarks"][1]["stats"]["mean"] = value
    written = json.loads(write_session(tmp_path, "base", plain).read_text())
    assert written["benchmarks"][1]["stats"]["mean"] == str(value)


def test_keys_that_json_cannot_hold_are_refused(tmp_path):
    with pytest.raises(SaveError, match="keys must be str"):
        write_session(tmp_path, "base", {**output(), "other": {(1, 2): 3}})
    assert files(tmp_path) == {}


@pytest.mark.parametrize("name", ["", "a/b", "../a", "a\\b", "a:b", "a*", 'a"', "a\0", "a\nb"])
def test_a_name_that_no_file_can_have_is_refused(tmp_path, name):
    with pytest.raises(SaveError, match="file name cannot hold it"):
        write_session(tmp_path / "store", name, output())
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("name", ["a", "tf2.21", "after-the_update", "größer", "a b"])
def test_a_name_that_files_can_have_is_accepted(tmp_path, name):
    path = write_session(tmp_path, name, output())
    assert path.name == f"0001_{name}.json"
    assert read_session(path).name == name


@pytest.mark.parametrize(
    ("taken", "number"),
    [
        ([], "0001"),
        (["0001_a.json", "0007_b.json"], "0008"),
        (["9999_a.json"], "10000"),
        (["Linux-64bit/0005_a.json", "0002_a.json"], "0006"),
        (["notes.json", "12_a.json"], "0001"),
        # Claimed by a process that was killed or that is about to use it.
        (["0001_a.json", ".0002.claim"], "0003"),
    ],
)
def test_the_next_free_number_is_taken(tmp_path, taken, number):
    for name in taken:
        put(tmp_path / name, "")
    assert write_session(tmp_path, "a", output()).name == f"{number}_a.json"


def test_a_number_used_since_the_first_look_is_not_used_again(tmp_path, monkeypatch):
    first = write_session(tmp_path, "a", output())
    before = first.read_bytes()
    real, looks = writing._numbers, []

    def stale_at_first(folder):
        looks.append(folder)
        return set() if len(looks) == 1 else real(folder)

    monkeypatch.setattr(writing, "_numbers", stale_at_first)
    assert write_session(tmp_path, "a", output()).name == "0002_a.json"
    assert first.read_bytes() == before
    assert set(files(tmp_path)) == {"0001_a.json", "0002_a.json"}


def test_nothing_but_the_session_is_left_after_saving(tmp_path):
    write_session(tmp_path, "a", output())
    assert set(files(tmp_path)) == {"0001_a.json"}


def test_a_saved_file_may_be_read_by_whom_the_umask_permits(tmp_path):
    old = os.umask(0o027)
    try:
        path = write_session(tmp_path, "a", output())
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o640


def in_a_process(code: str, *arguments: str | Path) -> subprocess.CompletedProcess:
    """Runs code that has the names of both modules of sessions, and the plain session."""
    head = (
        "import json, os, signal, sys\nfrom pathlib import Path\n"
        "from cnnprec.records import write_session as writing\n"
        "from cnnprec.records.write_session import *\n"
        "from cnnprec.records.read_sessions import *\n"
        "folder, plain = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())\n"
    )
    return subprocess.run(
        [sys.executable, "-c", head + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=Path(writing.__file__).parents[2],
    )


def test_sessions_saved_at_once_all_survive_with_numbers_of_their_own(tmp_path):
    # Every other process saves under another name, so the number alone has to keep them apart.
    # All are let go by closing the pipe that they wait on.
    done = in_a_process(
        """
go, start = os.pipe()
children = []
for index in range(8):
    child = os.fork()
    if child == 0:
        os.close(start)
        os.read(go, 1)
        for turn in range(5):
            write_session(folder, f"name{index % 2}", {**plain, "version": f"{index}.{turn}"})
        os._exit(0)
    children.append(child)
os.close(go)
os.close(start)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
""",
        tmp_path,
        NEWEST,
    )
    assert done.returncode == 0, done.stderr
    sessions, skipped = read_sessions(tmp_path)
    assert skipped == ()
    assert sorted(int(s.path.name[:4]) for s in sessions) == list(range(1, 41))
    versions = {json.loads(content)["version"] for content in files(tmp_path).values()}
    assert versions == {f"{index}.{turn}" for index in range(8) for turn in range(5)}


def test_a_process_killed_while_saving_leaves_no_file_with_a_sessions_name(tmp_path):
    # A process each: killed when half of the text is written; when it is whole but has no
    # number; when the number is claimed.
    stores = [tmp_path / name for name in ("write", "fsync", "rename")]
    before = [write_session(store, "a", output()).read_bytes() for store in stores]
    done = in_a_process(
        """
def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)
def write_half_and_die(descriptor, text, write=os.write):
    write(descriptor, text[: len(text) // 2])
    die()
stand_ins = [(os, "write", write_half_and_die), (os, "fsync", die), (Path, "rename", die)]
ends = []
for owner, function, stand_in in stand_ins:
    child = os.fork()
    if child == 0:
        setattr(owner, function, stand_in)
        write_session(folder / function, "b", plain)
    ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
sys.exit(ends != [-signal.SIGKILL] * 3)
""",
        tmp_path,
        NEWEST,
    )
    assert done.returncode == 0, done.stderr
    for store, content in zip(stores, before, strict=True):
        assert [path.name for path in store.glob("*.json")] == ["0001_a.json"]
        assert (store / "0001_a.json").read_bytes() == content
        # It did get as far as writing; what it left does not hinder the next one.
        assert any(path.name.endswith(".tmp") for path in store.iterdir())
        assert read_session(write_session(store, "c", output())).name == "c"


@contextlib.contextmanager
def nothing_changes(folder: Path):
    before = files(folder)
    assert before
    yield
    assert files(folder) == before


@given(share=st.floats(0, 1, exclude_max=True), step=st.integers(500, 20_000))
def test_a_disk_that_fills_at_any_byte_leaves_earlier_files_and_no_other(
    tmp_path_factory, share, step
):
    folder = tmp_path_factory.getbasetemp() / "full"
    if not folder.exists():
        write_session(folder, "first", output())
    # The second file would be as long as the first.
    room = int(share * (folder / "0001_first.json").stat().st_size)
    real, left = os.write, [room]

    def write(descriptor, content):
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = real(descriptor, content[: min(left[0], step)])
        left[0] -= written
        return written

    with (
        nothing_changes(folder),
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(SaveError, match="No space left"),
    ):
        patch.setattr(write_whole.os, "write", write)
        write_session(folder, "second", output())


def test_a_disk_that_takes_a_few_bytes_at_a_time_gets_them_all(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(
        write_whole.os, "write", lambda descriptor, content: real(descriptor, content[:999])
    )
    path = write_session(tmp_path, "a", output())
    monkeypatch.undo()
    assert path.stat().st_size > 999
    assert path.read_bytes() == write_session(tmp_path, "a", output()).read_bytes()


@pytest.mark.parametrize(
    ("owner", "function"), [(os, "write"), (os, "fsync"), (os, "open"), (Path, "rename")]
)
@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "I/O")])
def test_a_failure_at_any_call_is_told_with_folder_reason_and_remedy(
    tmp_path, monkeypatch, owner, function, error
):
    write_session(tmp_path, "first", output())

    def fail(*arguments, **options):
        raise error

    with nothing_changes(tmp_path), monkeypatch.context() as patch:
        patch.setattr(owner, function, fail)
        with pytest.raises(SaveError) as caught:
            write_session(tmp_path, "second", output())
    for word in (str(tmp_path), error.strerror, "--benchmark-storage"):
        assert word in str(caught.value)


def test_ctrl_c_while_saving_leaves_earlier_files_and_no_other(tmp_path, monkeypatch):
    write_session(tmp_path, "first", output())

    def interrupted(descriptor):
        raise KeyboardInterrupt

    with nothing_changes(tmp_path), monkeypatch.context() as patch:
        patch.setattr(write_whole.os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_session(tmp_path, "second", output())


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    file = put(tmp_path / "file", "")
    with pytest.raises(SaveError, match=f"{file}/store: Not a directory.*--benchmark-storage"):
        write_session(file / "store", "a", output())
