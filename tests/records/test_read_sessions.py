"""Reading saved sessions: which are read, which are refused and skipped."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnprec.records import read_sessions as read_sessions_module
from cnnprec.records.read_sessions import read_session, read_sessions
from cnnprec.records.record import SCHEMA_VERSION
from cnnprec.verdicts.baseline import select
from tests.support.hostile import places
from tests.support.sessions import DATA, SAVED, START, TEXT, changed, put

# Reading one file.


def record_of(plain: dict, index: int = 0) -> dict:
    return plain["benchmarks"][index]["extra_info"]["cnnprec"]


@pytest.mark.parametrize(
    ("version", "saved_at", "code"),
    [
        (1, "2026-11-23T07:11:40.319579", "unknown"),
        (2, "2026-11-23T09:00:22.286598", "555b5fb5d0c0"),
        (3, "2026-11-24T06:55:18.290758", "19156ae11ca0"),
    ],
)
def test_a_real_file_of_every_schema_version_is_read(version, saved_at, code):
    session = read_session(DATA / f"session-schema-{version}.json")
    assert list(session.records) == ["single", "half"]
    assert all(record.schema_version == SCHEMA_VERSION for record in session.records.values())
    assert [len(record.rounds) for record in session.records.values()] == [3, 3]
    assert session.saved_at == datetime.fromisoformat(f"{saved_at}+00:00")
    assert session.saved_at.tzinfo is timezone.utc
    assert {record.environment.code for record in session.records.values()} == {code}
    assert (session.failed, session.verdict) == (False, None)


def test_every_schema_version_has_a_real_file():
    assert len(list(DATA.glob("session-schema-*.json"))) == SCHEMA_VERSION


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("0003_base.json", "base"),
        ("12345_a_b.json", "a_b"),
        ("003_base.json", "003_base"),
        ("0003.json", "0003"),
        ("results.json", "results"),
        ("0001-A.json.partial", "0001-A.json"),
    ],
)
def test_name_comes_from_the_file_name(tmp_path, file, name):
    session = read_session(put(tmp_path / file, TEXT))
    assert session.name == name
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
    "zero": (with_value(0.0, *SECONDS_PATH), ">= 1e-12"),
    "negative": (with_value(-1.0, *SECONDS_PATH), ">= 1e-12"),
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
    put(folder / "0012_a.json", {**at(5), "version": "another session of the same moment"})
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
    real = read_sessions_module.read_regular
    monkeypatch.setattr(
        read_sessions_module,
        "read_regular",
        lambda path, most: read.append(path.name) or real(path, most),
    )
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


# Copies: one measurement counts once.


def copies(folder: Path) -> dict[str, str]:
    return {
        skip.path.relative_to(folder).as_posix(): skip.reason.partition(":")[0]
        for skip in read_sessions(folder)[1]
    }


def test_copies_of_a_file_are_one_session_and_named(tmp_path):
    text = put(tmp_path / "0002_b.json", at(1)).read_text()
    put(tmp_path / "0001_copy.json", at(2))
    put(tmp_path / "0003_b.json", text)
    put(tmp_path / "sub" / "0002_b.json", text)
    assert [s.path.name for s in read_sessions(tmp_path)[0]] == ["0002_b.json", "0001_copy.json"]
    assert copies(tmp_path) == {
        "0003_b.json": "copy of 0002_b.json",
        "sub/0002_b.json": f"copy of {tmp_path / '0002_b.json'}",
    }


def test_files_that_differ_in_a_byte_are_two_sessions(tmp_path):
    text = put(tmp_path / "0001_a.json", at(1)).read_text()
    put(tmp_path / "0002_a.json", text.replace("2026-01-01T00:01:00", "2026-01-01T00:01:01"))
    assert len(read_sessions(tmp_path)[0]) == 2
    assert copies(tmp_path) == {}


def test_links_are_copies_of_the_file_whatever_their_names(tmp_path):
    path = put(tmp_path / "0005_a.json", at(1))
    (tmp_path / "0001_a.json").symlink_to(path)
    (tmp_path / "0009_hard.json").hardlink_to(path)
    assert [s.path for s in read_sessions(tmp_path)[0]] == [path]
    assert copies(tmp_path) == {
        "0001_a.json": "copy of 0005_a.json",
        "0009_hard.json": "copy of 0005_a.json",
    }


@pytest.mark.parametrize("target", [".", "sub", "sub/../sub"])
def test_links_to_folders_inside_double_nothing(tmp_path, target):
    put(tmp_path / "0001_a.json", at(1))
    put(tmp_path / "sub" / "0002_a.json", at(2))
    (tmp_path / "again").symlink_to(target)
    (tmp_path / "sub" / "up.json").symlink_to("..")
    sessions, skipped = read_sessions(tmp_path)
    assert [session.name for session in sessions] == ["a", "a"]
    assert [session.path.parent.name for session in sessions] == [tmp_path.name, "sub"]
    assert [skip.path.name for skip in skipped] == ["up.json"]  # a folder, which is no file


def test_a_link_to_a_folder_elsewhere_is_read(tmp_path):
    put(tmp_path / "elsewhere" / "0001_a.json", at(1))
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "machine").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "store") == ["a"]


def test_a_copy_of_a_damaged_file_is_damaged_and_no_copy(tmp_path):
    for number in (1, 2):
        put(tmp_path / f"000{number}_a.json", "{")
    assert all("not whole" in reason for reason in copies(tmp_path).values())


def test_a_pattern_that_means_the_copy_reads_it(tmp_path):
    for number in (1, 2):
        put(tmp_path / f"000{number}_a.json", at(1))
    assert names(tmp_path, "2") == ["a"]


def test_each_record_is_converted_once_and_selecting_converts_none(store, monkeypatch):
    converted = []
    real = read_sessions_module._record

    def decode(raw, **options):
        converted.append(raw)
        return real(raw, **options)

    monkeypatch.setattr(read_sessions_module, "_record", decode)
    sessions, _ = read_sessions(store)
    assert len(converted) == sum(len(session.records) for session in sessions) == 8
    select(sessions, sessions[0].records)
    assert len(converted) == 8
