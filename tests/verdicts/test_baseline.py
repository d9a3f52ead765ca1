import contextlib
import copy
import dataclasses
import errno
import json
import logging
import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_benchmark.storage.file import FileStorage

from cnnprec.precision.precisions import PRECISIONS
from cnnprec.records import write_session as writing
from cnnprec.records import write_whole
from cnnprec.records.read_sessions import SavedSession, read_session, read_sessions
from cnnprec.records.record import SCHEMA_VERSION, Record
from cnnprec.records.write_session import MOST_BYTES, SaveError, benchmark_bytes, write_session
from cnnprec.verdicts import baseline
from cnnprec.verdicts.baseline import select
from cnnprec.verdicts.case import ENOUGH
from cnnprec.verdicts.comparability import Part

DATA = Path(__file__).parents[1] / "data"
NEWEST = DATA / f"session-schema-{SCHEMA_VERSION}.json"
TEXT = NEWEST.read_text()
SAVED = json.loads(TEXT)
START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def record_of(plain: dict, index: int = 0) -> dict:
    return plain["benchmarks"][index]["extra_info"]["cnnprec"]


def changed(**block) -> dict:
    """The saved session, free to be changed."""
    plain = copy.deepcopy(SAVED)
    plain["cnnprec"].update(block)
    return plain


def put(path: Path, content: dict | str | bytes) -> Path:
    if isinstance(content, dict):
        content = json.dumps(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# Reading one file.


@pytest.mark.parametrize(
    ("version", "saved_at", "commit", "code"),
    [
        (1, "2026-11-23T07:11:40.319579", "72a6bcfb44e5", "unknown"),
        (2, "2026-11-23T09:00:22.286598", "d8a8bd19a062", "555b5fb5d0c0"),
        (3, "2026-11-24T06:55:18.290758", "a3d7b0437381", "19156ae11ca0"),
    ],
)
def test_a_real_file_of_every_schema_version_is_read(version, saved_at, commit, code):
    session = read_session(DATA / f"session-schema-{version}.json")
    assert list(session.records) == ["single", "half"]
    assert all(record.schema_version == SCHEMA_VERSION for record in session.records.values())
    assert [len(record.rounds) for record in session.records.values()] == [3, 3]
    assert session.saved_at == datetime.fromisoformat(f"{saved_at}+00:00")
    assert session.saved_at.tzinfo is timezone.utc
    assert session.commit == commit
    assert {record.environment.code for record in session.records.values()} == {code}
    assert (session.failed, session.verdict) == (False, None)


def test_every_schema_version_has_a_real_file():
    assert len(list(DATA.glob("session-schema-*.json"))) == SCHEMA_VERSION


@pytest.mark.parametrize(
    ("file", "name", "number"),
    [
        ("0003_base.json", "base", 3),
        ("12345_a_b.json", "a_b", 12345),
        ("003_base.json", "003_base", None),
        ("0003.json", "0003", None),
        ("results.json", "results", None),
        ("0001-A.json.partial", "0001-A.json", None),
    ],
)
def test_name_and_number_come_from_the_file_name(tmp_path, file, name, number):
    session = read_session(put(tmp_path / file, TEXT))
    assert (session.name, session.number) == (name, number)
    assert session.path == tmp_path / file


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("2026-01-01T12:00:00+00:00", 12),
        ("2026-01-01T12:00:00Z", 12),
        ("2026-01-01T12:00:00+02:00", 10),
        ("2026-01-01T12:00:00.000001", 12),
    ],
)
def test_time_is_read_as_utc(tmp_path, text, hour):
    session = read_session(put(tmp_path / "x.json", {**SAVED, "datetime": text}))
    assert session.saved_at.replace(microsecond=0) == START.replace(hour=hour)


@pytest.mark.parametrize(
    ("commit", "info", "expected"),
    [
        ("0123456789ab-dirty", {"id": "f" * 40}, "0123456789ab-dirty"),
        (None, {"id": "f" * 40, "dirty": False}, "f" * 12),
        (None, {"id": "f" * 40, "dirty": True}, "f" * 12 + "-dirty"),
        (None, {"id": "unversioned"}, None),
        (None, {"id": "unknown", "error": "no git"}, None),
        (None, {}, None),
    ],
)
def test_commit_is_the_records_own_else_that_of_pytest_benchmark(tmp_path, commit, info, expected):
    plain = {**changed(), "commit_info": info}
    for index in (0, 1):
        record_of(plain, index)["environment"]["commit"] = commit
    assert read_session(put(tmp_path / "x.json", plain)).commit == expected


def test_failure_and_verdict_come_from_the_block_of_the_session(tmp_path):
    session = read_session(put(tmp_path / "x.json", changed(failed=True, verdict="PASS")))
    assert (session.failed, session.verdict) == (True, "PASS")


def test_a_session_without_the_block_has_not_failed(tmp_path):
    plain = changed()
    del plain["cnnprec"]
    session = read_session(put(tmp_path / "x.json", plain))
    assert (session.failed, session.verdict) == (False, None)


def test_benchmarks_that_train_nothing_are_passed_over(tmp_path):
    plain = changed()
    plain["benchmarks"][0]["extra_info"] = {"overhead": 1}
    assert list(read_session(put(tmp_path / "x.json", plain)).records) == ["half"]


def without(*path: str | int) -> dict:
    plain = node = changed()
    for key in path[:-1]:
        node = node[key]
    del node[path[-1]]
    return plain


def with_value(value, *path: str | int) -> dict:
    plain = node = changed()
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return plain


RECORD_PATH = ("benchmarks", 0, "extra_info", "cnnprec")
SECONDS_PATH = (*RECORD_PATH, "rounds", 0, "seconds")

# What is wrong with a file, its content, and a word that has to be in the message.
BAD_FILES = {
    "empty": ("", "empty"),
    "blank": (" \n", "empty"),
    "binary": (bytes(range(256)) * 9, "not whole and valid JSON"),
    "not UTF-8": (TEXT.encode("utf-16"), "not whole and valid JSON"),
    "words": ("not JSON", "not whole and valid JSON"),
    "two values": (TEXT + TEXT, "not whole and valid JSON"),
    "deep": ("[" * 100_000, "not whole and valid JSON|not the layout"),
    "a list": ("[]", "not the layout of pytest-benchmark"),
    "foreign": ({"coverage": 1}, "missing required field `benchmarks`"),
    "list of other things": (with_value([1, 2], "benchmarks"), r"benchmarks\[0\]"),
    "no benchmarks": (with_value([], "benchmarks"), "holds a record of cnnprec"),
    "no extra_info": (without("benchmarks", 0, "extra_info"), "extra_info"),
    "no time": (without("datetime"), "datetime"),
    "no such time": (with_value("yesterday", "datetime"), "'yesterday' is no ISO 8601 time"),
    "before time": (with_value("0001-01-01T00:00:00+12:00", "datetime"), "is no ISO 8601 time"),
    "failed is a word": (changed(failed="no"), "failed"),
    "verdict is a number": (changed(verdict=1), "verdict"),
    "future": (
        with_value(SCHEMA_VERSION + 1, *RECORD_PATH, "schema_version"),
        f"schema version {SCHEMA_VERSION + 1}.*Read it with the cnnprec that wrote it",
    ),
    "no version": (without(*RECORD_PATH, "schema_version"), "schema version None"),
    "no rounds": (without(*RECORD_PATH, "rounds"), "rounds"),
    "not one round": (with_value([], *RECORD_PATH, "rounds"), "holds no round"),
    "no environment": (without(*RECORD_PATH, "environment"), "environment"),
    "zero": (with_value(0.0, *SECONDS_PATH), "not a positive time"),
    "negative": (with_value(-1.0, *SECONDS_PATH), "not a positive time"),
    "NaN": (with_value(float("nan"), *SECONDS_PATH), "not whole and valid JSON"),
    "infinite": (with_value(float("inf"), *SECONDS_PATH), "not whole and valid JSON"),
    "NaN as a word": (with_value("nan", *SECONDS_PATH), "float"),
    "huge": (with_value(10**400, *SECONDS_PATH), "out of range|float"),
    "twice": (with_value(SAVED["benchmarks"][1], "benchmarks", 0), "two records.*'half'"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_is_no_session_is_refused_by_name_and_skipped_by_name(tmp_path, kind):
    content, word = BAD_FILES[kind]
    bad = put(tmp_path / "0002_bad.json", content)
    good = put(tmp_path / "0001_good.json", TEXT)
    with pytest.raises(ValueError, match=f"(?s)0002_bad.json: .*({word})") as caught:
        read_session(bad)
    sessions, skipped = read_sessions(tmp_path)
    assert [session.path for session in sessions] == [good]
    assert [skip.path for skip in skipped] == [bad]
    assert f"{bad}: {skipped[0].reason}" == str(caught.value)


# Each twentieth of the file, and all but the brace at its end.
@pytest.mark.parametrize("length", [*range(0, len(TEXT), len(TEXT) // 20), len(TEXT) - 2])
def test_a_truncated_file_is_refused_and_skipped(tmp_path, length):
    path = put(tmp_path / "x.json", TEXT[:length])
    with pytest.raises(ValueError, match=r"x.json: (not whole|the file is empty)"):
        read_session(path)
    assert read_sessions(tmp_path)[0] == ()
    assert [skip.path for skip in read_sessions(tmp_path)[1]] == [path]


def test_a_folder_with_the_name_of_a_file_is_refused_and_skipped(tmp_path):
    (tmp_path / "x.json").mkdir()
    with pytest.raises(ValueError, match=r"x.json: cannot be read: Is a directory"):
        read_session(tmp_path / "x.json")
    assert [skip.path for skip in read_sessions(tmp_path)[1]] == [tmp_path / "x.json"]


def test_a_link_to_nothing_is_refused_and_skipped(tmp_path):
    link = tmp_path / "x.json"
    link.symlink_to(tmp_path / "gone")
    with pytest.raises(ValueError, match="No such file"):
        read_session(link)
    assert [skip.path for skip in read_sessions(tmp_path)[1]] == [link]


def places(node, path=()):
    """The paths of all that a JSON value holds."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def assert_read_or_refused(path: Path) -> None:
    """Any exception but a ValueError that begins with the file passes through, and fails."""
    try:
        message, count = "", len(read_session(path).records)
    except ValueError as error:
        message, count = str(error), 0
    assert count or message.startswith(f"{path}: ")
    sessions, skipped = read_sessions(path.parent, str(path))
    assert (len(sessions), len(skipped)) == ((0, 1) if message else (1, 0))


# Only what is read, with its surroundings: the rest may be anything.
PLACES = [
    path
    for path in places(SAVED)
    if path[0] not in ("machine_info", "version") and "stats" not in path and "options" not in path
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**30), 1.0, True, "nan", "inf", "", "\ud800", [[1, 2]], {}])
    | st.floats()
    | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(place=st.sampled_from(PLACES), value=VALUES, remove=st.booleans())
def test_a_file_changed_anywhere_is_read_or_refused_by_name(tmp_path_factory, place, value, remove):
    plain = without(*place) if remove else with_value(value, *place)
    path = put(tmp_path_factory.getbasetemp() / "changed.json", plain)
    assert_read_or_refused(path)


@given(st.integers(0, len(TEXT) - 1), st.binary(max_size=3))
def test_a_file_with_other_bytes_is_read_or_refused_by_name(tmp_path_factory, start, content):
    raw = TEXT.encode()
    raw = raw[:start] + content + raw[start + len(content) :]
    path = put(tmp_path_factory.getbasetemp() / "bytes.json", raw)
    assert_read_or_refused(path)


# Reading a folder.


def at(minutes: float) -> dict:
    return {**SAVED, "datetime": (START + timedelta(minutes=minutes)).isoformat()}


@pytest.fixture
def store(tmp_path) -> Path:
    """Four sessions, one of them in the folder that pytest-benchmark makes for a machine."""
    folder = tmp_path / "store"
    put(folder / "0001_late.json", at(9))
    put(folder / "Linux-64bit" / "0002_early.json", at(1))
    put(folder / "0003_b.json", at(5))
    put(folder / "0012_a.json", at(5))
    put(folder / "Linux-64bit" / "deep" / "0004_deep.json", at(0))
    put(folder / ".0123.tmp", "half a fi")
    put(folder / "notes.txt", "not JSON")
    return folder


def names(folder: Path, pattern: str | None = None) -> list[str]:
    sessions, skipped = read_sessions(folder, pattern)
    assert skipped == ()
    return [session.name for session in sessions]


def test_sessions_of_folder_and_subfolders_come_oldest_first_then_by_name(store):
    assert names(store) == ["early", "a", "b", "late"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("3", ["b"]),
        ("0003", ["b"]),
        ("2", ["early"]),
        ("late", ["late"]),
        ("[ab]", ["a", "b"]),
        ("0012_a", ["a"]),
        ("0012_a.json", ["a"]),
        ("00*_", ["early", "a", "b", "late"]),
        ("*_[ab]", ["a", "b"]),
        ("Linux-*/0002", ["early"]),
        ("Linux-64bit/*_early.json", ["early"]),
        ("", ["early", "a", "b", "late"]),
    ],
)
def test_pattern_chooses_sessions(store, pattern, expected):
    assert names(store, pattern) == expected


@pytest.mark.parametrize(
    "pattern", ["4", "00", "lat", "ate", "0001_x", "other/0001", "x" * 5000, "a\0b"]
)
def test_pattern_that_matches_nothing_gives_nothing(store, pattern):
    assert read_sessions(store, pattern) == ((), ())


def test_pattern_may_be_the_path_of_a_file_elsewhere(store, tmp_path, monkeypatch):
    path = put(tmp_path / "mine.json", at(3))
    assert names(store, str(path)) == ["mine"]
    monkeypatch.chdir(tmp_path)
    assert names(store, "mine.json") == ["mine"]


def test_path_of_a_bad_file_is_skipped_by_name(store, tmp_path):
    path = put(tmp_path / "mine.json", "{")
    sessions, skipped = read_sessions(store, str(path))
    assert sessions == ()
    assert [skip.path for skip in skipped] == [path]


def test_files_outside_the_pattern_are_not_even_read(store, monkeypatch):
    put(store / "0005_bad.json", "{")
    read = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.name) or real(path))
    assert names(store, "3") == ["b"]
    assert read == ["0003_b.json"]


def test_a_folder_that_does_not_exist_holds_nothing(tmp_path):
    assert read_sessions(tmp_path / "none") == ((), ())


def test_a_folder_that_cannot_be_listed_is_skipped_by_name(tmp_path):
    path = put(tmp_path / "file", "")
    assert read_sessions(path)[0] == ()
    (skipped,) = read_sessions(path)[1]
    assert skipped.path == path
    assert "cannot be listed: Not a directory" in skipped.reason


def test_each_record_is_converted_once_and_selecting_converts_none(store, monkeypatch):
    converted = []
    real = Record.from_dict
    monkeypatch.setattr(
        Record, "from_dict", lambda plain: converted.append(plain["precision"]) or real(plain)
    )
    sessions, _ = read_sessions(store)
    assert len(converted) == sum(len(session.records) for session in sessions) == 8
    select(sessions, sessions[0].records)
    assert len(converted) == 8


def test_selecting_compares_each_record_at_most_twice(monkeypatch):
    compared = []
    real = baseline.differences
    monkeypatch.setattr(
        baseline, "differences", lambda old, new: compared.append(old) or real(old, new)
    )
    sessions = [saved(minute) for minute in range(50)]
    select(sessions, sessions[0].records)
    # Once to refuse, and once to list what changed, for two precisions.
    assert len(compared) == 50 * 2 * 2


# Writing.


def output() -> dict:
    """What pytest-benchmark hands over: with objects that are not JSON, and ballast."""
    plain = changed()
    plain["machine_info"]["cpu"]["flags"] = ["avx", "sse"] * 100
    for benchmark in plain["benchmarks"]:
        benchmark["params"] = {"precision": PRECISIONS[benchmark["param"]]}
        benchmark["stats"]["data"] = [0.1] * 3
    return plain


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_written_session_is_read_back_whole(tmp_path):
    path = write_session(tmp_path / "new" / "folder", "base", output())
    assert path == tmp_path / "new" / "folder" / "0001_base.json"
    session, original = read_session(path), read_session(NEWEST)
    assert repr(dict(session.records)) == repr(dict(original.records))
    assert dataclasses.replace(
        session, path=original.path, name=original.name, number=None, records={}
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


def test_pytest_benchmark_itself_still_reads_what_is_written(tmp_path):
    path = write_session(tmp_path, "base", output())
    ((found, plain),) = FileStorage(tmp_path, logging.getLogger("test")).load()
    assert str(found) == path.name
    assert [benchmark["name"] for benchmark in plain["benchmarks"]] == [
        "test_training[single]",
        "test_training[half]",
    ]


def test_written_file_has_short_lines_and_one_for_each_benchmark_at_least(tmp_path):
    lines = write_session(tmp_path, "base", output()).read_text().splitlines()
    names = [line for line in lines if '"name": "test_training' in line]
    assert len(names) == 2
    # Lists of plain numbers, and objects without any inside, stay whole on a line.
    assert all(
        len(line) <= 100 or not any(isinstance(item, dict | list) for item in plain_items(line))
        for line in lines
    )


def plain_items(line: str) -> list:
    text = line.strip().rstrip(",")
    value = json.loads(text if text[0] in "[{" else "{" + text + "}")
    value = value if text[0] in "[{" else next(iter(value.values()))
    return list(value.values() if isinstance(value, dict) else value)


def test_a_benchmark_stays_below_the_limit():
    sizes = benchmark_bytes(output())
    assert list(sizes) == ["test_training[single]", "test_training[half]"]
    assert max(sizes.values()) <= MOST_BYTES


def test_the_size_of_a_benchmark_is_what_it_adds_to_the_file(tmp_path):
    plain = output()
    both = write_session(tmp_path, "both", plain).stat().st_size
    sizes = benchmark_bytes(plain)
    removed = plain["benchmarks"].pop()
    one = write_session(tmp_path, "one", plain).stat().st_size
    # It is set off by a comma, a line feed and two columns.
    assert both - one == sizes[removed["name"]] + 4


def test_a_large_benchmark_is_measured_and_written_all_the_same(tmp_path):
    plain = output()
    plain["benchmarks"][0]["stats"]["data"] = [0.123456789] * 2000
    assert benchmark_bytes(plain)["test_training[single]"] > MOST_BYTES
    assert read_session(write_session(tmp_path, "base", plain)).records


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_cannot_hold_is_named(tmp_path, value):
    plain = output()
    plain["benchmarks"][1]["stats"]["mean"] = value
    with pytest.raises(SaveError, match=rf"\$\.benchmarks\[1\]\.stats\.mean = {value}"):
        write_session(tmp_path, "base", plain)
    with pytest.raises(SaveError, match="mean"):
        benchmark_bytes(plain)
    assert files(tmp_path) == {}


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
    """Runs code that has the names of this package's `baseline` and the plain session."""
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
        cwd=Path(baseline.__file__).parents[2],
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
    assert sorted(session.number for session in sessions) == list(range(1, 41))
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


# Selecting.

RECORDS = read_session(NEWEST).records


def records(precisions=("single", "half"), **environment) -> dict[str, Record]:
    return {
        name: dataclasses.replace(
            RECORDS[name],
            environment=dataclasses.replace(RECORDS[name].environment, **environment),
        )
        for name in precisions
    }


def saved(minute: float, *, failed=False, verdict=None, **fields) -> SavedSession:
    """A session of that minute; ``fields`` as for `records`."""
    return SavedSession(
        path=Path(f"{minute}.json"),
        name="x",
        number=None,
        saved_at=START + timedelta(minutes=minute),
        commit=None,
        records=records(**fields),
        failed=failed,
        verdict=verdict,
    )


def many(first: float, count: int, **fields) -> list[SavedSession]:
    return [saved(first + minute, **fields) for minute in range(count)]


NOW = records(code="now")


def test_nothing_saved_selects_nothing():
    assert select([], NOW) == baseline.Selection((), (), (), ())


def test_comparable_sessions_are_selected_oldest_first():
    sessions = many(0, 3, code="now")
    selection = select(reversed(sessions), NOW)
    assert selection == baseline.Selection(tuple(sessions), (), (), ())


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"failed": True}, "test of the session failed"), ({"verdict": "FAIL"}, "verdict FAIL")],
)
def test_sessions_that_failed_or_were_worse_are_never_selected(fields, reason):
    unfit = saved(9, code="now", **fields)
    selection = select([unfit, saved(1)], NOW)
    assert [session.saved_at.minute for session in selection.sessions] == [1]
    assert [session for session, _ in selection.unfit] == [unfit]
    assert reason in selection.unfit[0][1]
    assert select([unfit], NOW).sessions == ()


@pytest.mark.parametrize("verdict", [None, "PASS", "INCONCLUSIVE", "NO_BASELINE"])
def test_sessions_of_any_other_verdict_are_selected(verdict):
    session = saved(0, verdict=verdict)
    assert select([session], NOW).sessions == (session,)


def test_another_machine_is_refused_with_every_reason_once():
    session = saved(0, cpu_model="other", usable_cores=64)
    selection = select([session], NOW)
    assert selection.sessions == selection.changed == ()
    ((refused, reasons),) = selection.refused
    assert refused is session
    assert [str(reason) for reason in reasons] == [
        "cpu_model: other -> AMD EPYC family 26 model 2",
        "usable_cores: 64 -> 2",
    ]


def test_a_session_refused_in_one_precision_is_refused():
    session = saved(0)
    half = session.records["half"]
    other = dataclasses.replace(
        half, precision=dataclasses.replace(half.precision, optimizer_overrides=(("b", 1.0),))
    )
    session = dataclasses.replace(session, records={**session.records, "half": other})
    selection = select([session], NOW)
    assert [reason.name for reason in selection.refused[0][1]] == ["optimizer_overrides"]
    assert select([session], records(("single",))).sessions == (session,)


def test_sessions_without_a_common_precision_are_refused_by_name():
    selection = select([saved(0, precisions=("single",))], records(("half",)))
    ((_, (reason,)),) = selection.refused
    assert reason.part is Part.WORKLOAD
    assert str(reason) == "precisions: single -> half"
    assert str(select([saved(0)], {}).refused[0][1][0]) == "precisions: single, half -> none"


def test_a_session_with_fewer_precisions_is_selected_as_it_is():
    sessions = [saved(0), saved(1, precisions=("half",))]
    selection = select(sessions, NOW)
    assert [list(session.records) for session in selection.sessions] == [
        ["single", "half"],
        ["half"],
    ]


def test_changed_lists_each_difference_of_the_stack_once():
    sessions = [saved(0, code="a"), saved(1, code="b"), saved(2, code="b")]
    changed = select(sessions, records(code="now", tensorflow="9")).changed
    assert [str(difference) for difference in changed] == [
        "tensorflow: 2.21.0 -> 9",
        "code: a (commit a3d7b0437381) -> now (commit a3d7b0437381)",
        "code: b (commit a3d7b0437381) -> now (commit a3d7b0437381)",
    ]


def minutes(selection) -> list[int]:
    return [int((session.saved_at - START).total_seconds() // 60) for session in selection.sessions]


def test_several_commits_pool():
    sessions = [saved(minute, code=f"code{minute}") for minute in range(4)]
    assert minutes(select(sessions, NOW)) == [0, 1, 2, 3]


def test_several_stacks_do_not_pool():
    sessions = [saved(minute, tensorflow=f"2.{minute % 2}") for minute in range(4)]
    assert minutes(select(sessions, NOW)) == [1, 3]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (ENOUGH, ENOUGH, "new"),
        (ENOUGH, ENOUGH - 1, "old"),
        (ENOUGH - 1, ENOUGH - 1, "new"),
        (ENOUGH - 1, ENOUGH, "new"),
        (2 * ENOUGH, 1, "old"),
        (1, 1, "new"),
    ],
)
@pytest.mark.parametrize("current", ["old", "new", "third"])
def test_newest_stack_with_enough_sessions_is_selected_else_the_newest(old, new, expected, current):
    sessions = many(0, old, keras="old") + many(100, new, keras="new")
    selection = select(sessions, records(keras=current))
    assert {session.records["half"].environment.keras for session in selection.sessions} == {
        expected
    }
    assert len(selection.sessions) == {"old": old, "new": new}[expected]


def test_unfit_and_refused_sessions_do_not_make_a_stack_large():
    sessions = (
        many(0, ENOUGH, keras="old")
        + many(100, ENOUGH - 1, keras="new")
        + [saved(200, keras="new", failed=True), saved(201, keras="new", cpu_model="other")]
    )
    selection = select(sessions, NOW)
    assert minutes(selection) == list(range(ENOUGH))
    assert (len(selection.unfit), len(selection.refused)) == (1, 1)


def test_age_of_a_stack_is_that_of_its_latest_session():
    sessions = [saved(0, keras="a"), saved(1, keras="b"), saved(2, keras="a")]
    assert minutes(select(sessions, NOW)) == [0, 2]


def test_vary_prefers_sessions_from_before_the_change():
    sessions = many(0, 2, keras="old") + many(100, ENOUGH, keras="new")
    now = records(keras="new")
    assert minutes(select(sessions, now, frozenset({"keras"}))) == [0, 1]
    assert minutes(select(sessions, now)) == list(range(100, 100 + ENOUGH))


def test_vary_among_stacks_before_the_change_takes_the_newest_with_enough():
    sessions = (
        many(0, ENOUGH, keras="1") + many(100, ENOUGH, keras="2") + many(200, ENOUGH, keras="3")
    )
    selection = select(sessions, records(keras="3"), frozenset({"keras"}))
    assert minutes(selection) == list(range(100, 100 + ENOUGH))


def test_vary_falls_back_to_the_stack_of_now():
    selection = select(many(0, 2), records(), frozenset({"keras"}))
    assert minutes(selection) == [0, 1]
    assert selection.changed == ()


def test_vary_refuses_sessions_that_differ_in_anything_else():
    sessions = [saved(0, keras="old"), saved(1, keras="old", numpy="old"), saved(2, code="old")]
    selection = select(sessions, records(), frozenset({"keras"}))
    assert minutes(selection) == [0]
    assert [[reason.name for reason in reasons] for _, reasons in selection.refused] == [
        ["numpy"],
        ["code"],
    ]


def test_vary_of_the_code_does_not_pool_sessions_that_have_the_change_already():
    sessions = [saved(0, code="a"), saved(1, code="b"), *many(100, ENOUGH, code="now")]
    assert minutes(select(sessions, NOW, frozenset({"code"}))) == [0, 1]
    assert len(select(sessions, NOW).sessions) == 2 + ENOUGH
    assert len(select(sessions[2:], NOW, frozenset({"code"})).sessions) == ENOUGH
