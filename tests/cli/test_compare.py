"""The command ``cnnprec compare``: verdicts from files, exit codes, and what it refuses."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cnnprec
from cnnprec.cli.main import main
from tests.cli.test_main import helped, usage_error
from tests.support import ab
from tests.support.histories import QUIET, session, timed
from tests.support.records import record as make_record

ROOT = Path(cnnprec.__file__).parent.parent
WIDE = (0.7, 1.3, 0.8, 1.2, 0.75, 1.25)


def with_environment(records: dict, **fields) -> dict:
    return {
        name: dataclasses.replace(
            record, environment=dataclasses.replace(record.environment, **fields)
        )
        for name, record in records.items()
    }


class Files:
    """Six sessions in a folder, and a new one beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.minute = 0  # no two sessions are saved at one moment
        self.old = folder / "old"
        self.old.mkdir()
        self.baseline()
        self.new = self.put("new.json", session(1.0))

    def put(self, name: str, records: dict, **block) -> Path:
        path = self.folder / name
        self.minute += 1
        plain = json.loads(ab.session(*records.values(), **block))
        path.write_text(
            json.dumps({**plain, "datetime": f"2026-01-01T00:{self.minute:02}:00+00:00"})
        )
        return path

    def baseline(self, factors=QUIET, **block) -> list[Path]:
        return [
            self.put(f"old/{number:04}_base.json", session(factor), **block)
            for number, factor in enumerate(factors, 1)
        ]

    def compare(self, *new: Path, old=(), options=()) -> int:
        olds = old or [self.old]
        return main(["compare", *options, *map(str, olds), "--", *map(str, new or [self.new])])


@pytest.fixture
def files(tmp_path) -> Files:
    return Files(tmp_path)


def shown(capsys) -> str:
    """Both outputs as one line; nothing of it is a traceback."""
    text = " ".join(" ".join(capsys.readouterr()).split())
    assert "Traceback" not in text
    return text


# Verdicts and exit codes.


def test_equal_session_passes_and_a_slow_one_fails(files, capsys):
    assert files.compare() == 0
    text = capsys.readouterr().out
    assert text.startswith(f"session: {files.new}\nbaseline: 6 sessions, 0001_base.json to 0006_b")
    assert "\nverdict: PASS, ROLL OUT\n" in text
    assert files.compare(files.put("new.json", session(2.0))) == 1
    assert "FAIL single speed: time per step grew by more than 3%" in shown(capsys)


def test_noise_is_inconclusive_and_a_failure_where_a_verdict_is_required(files, capsys):
    files.baseline(WIDE)
    assert files.compare() == 0
    assert "verdict: INCONCLUSIVE" in shown(capsys)
    assert files.compare(options=["--require-verdict"]) == 1
    files.baseline(QUIET)
    assert files.compare(options=["--require-verdict"]) == 0


def test_session_that_is_not_whole_is_invalid(files, capsys):
    assert files.compare(files.put("failed.json", session(), failed=True)) == 1
    assert "INVALID session completeness: a test of the session failed" in shown(capsys)
    record = timed(make_record("single"), [1.0] * 3)
    short = {"single": dataclasses.replace(record, rounds=record.rounds[:2])}
    assert files.compare(files.put("short.json", short)) == 1
    assert "only 2 of 3 runs" in shown(capsys)


def test_sessions_of_another_machine_are_incomparable_and_of_other_software_are_not(files, capsys):
    assert files.compare(files.put("a.json", with_environment(session(), cpu_model="Other"))) == 4
    text = shown(capsys)
    (line,) = re.findall(r"baseline: not comparable .*?: cpu_model: Some CPU -> Other", text)
    assert re.search(r"0001_base.json to 000\d_base.json \(\d sessions\)", line)
    assert "verdict: INCOMPARABLE" in text
    assert files.compare(files.put("a.json", with_environment(session(), keras="9.9"))) == 0
    text = shown(capsys)
    assert "what changed in the stack: keras: 3.15.1 -> 9.9" in text
    assert text.count("keras:") == 1


def test_baseline_of_failed_sessions_is_none(files, capsys):
    files.baseline(failed=True)
    assert files.compare() == 4
    text = shown(capsys)
    assert "not used 0001_base.json: a test of the session failed" in text
    assert "verdict: NO_BASELINE" in text


def test_vary_lets_only_the_named_software_differ(files, capsys):
    files.put("new.json", with_environment(session(), keras="9.9"))
    assert files.compare(options=["--vary", "keras"]) == 0
    assert files.compare(options=["--vary", "driver"]) == 4
    assert "verdict: INCOMPARABLE" in shown(capsys)


def test_limits_are_those_given(files):
    files.put("new.json", session(1.2))
    assert files.compare() == 1
    assert files.compare(options=["--tolerance=30%", "--margin=0.5"]) == 0


def test_several_new_sessions_are_a_block_each_and_the_worst_one_is_the_exit_code(files, capsys):
    slow = files.put("slow.json", session(2.0))
    other = files.put("other.json", with_environment(session(), cpu_model="Other"))
    assert files.compare(files.new, other) == 4
    assert files.compare(files.new, other, slow) == 1
    out = capsys.readouterr().out
    assert [out.count(f"session: {path}\n") for path in (files.new, other, slow)] == [2, 2, 1]
    assert out.count("verdict: ") == 5


def test_folders_are_all_their_sessions_and_the_same_as_the_files(files, capsys):
    assert files.compare() == 0
    folder = capsys.readouterr().out
    assert files.compare(old=sorted(files.old.iterdir())) == 0
    assert capsys.readouterr().out == folder
    files.put("old/0007_new.json", session(1.003))
    assert files.compare(files.old, old=[files.new]) == 0
    assert capsys.readouterr().out.count("verdict: INCONCLUSIVE") == 7


def test_markdown_holds_a_table_for_each_session(files, capsys):
    second = files.put("second.json", session(1.001))
    assert files.compare(files.new, second, options=["--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("## ")] == ["## new.json", "## second.json"]
    assert sum(line.startswith("| single | time per step | ") for line in lines) == 2
    assert "* baseline: 6 sessions, 0001_base.json to 0006_base.json" in lines


def test_copies_count_once_on_either_side_and_are_named(files, capsys):
    for path in files.old.glob("000[2-6]*"):
        path.write_text((files.old / "0001_base.json").read_text())
    (files.old / "again").symlink_to(".")
    copy = files.folder / "copy.json"
    copy.symlink_to(files.new)
    assert files.compare(files.new, copy) == 0
    text = shown(capsys)
    assert "baseline: 1 session, 0001_base.json" in text
    assert text.count("copy of 0001_base.json") == 5
    assert text.count("session: ") == 1
    assert f"{copy}: copy of new.json" in text


# What is refused.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["old"], "there is no -- between OLD and NEW"),
        ([], "there is no -- between OLD and NEW"),
        (["--", "new"], "OLD is empty"),
        (["old", "--"], "NEW is empty"),
        (["old", "--", "new", "--markdown"], "--markdown after --: options go before OLD"),
        (["--no-such", "old", "--", "new"], "--no-such"),
        (["--vary=drver", "old", "--", "new"], "drver"),
        (["--tolerance=lots", "old", "--", "new"], "'lots' is not a share"),
    ],
)
def test_bad_words_are_usage_errors(capsys, arguments, message):
    text = usage_error(capsys, "compare", *arguments)
    assert message in text
    assert "--help" in text


def test_help_has_examples_and_every_exit_code(capsys):
    text = helped(capsys, "compare")
    assert "cnnprec compare baselines/ -- new.json" in text
    assert all(f"\n    {code}  " in text for code in (0, 1, 4))


def test_file_on_both_sides_is_judged_by_the_others_however_it_is_named(files, capsys):
    first = files.old / "0001_base.json"
    copy = files.folder / "copy.json"
    copy.write_text(first.read_text())
    for new in (first, copy):
        assert files.compare(new) == 0
        assert "baseline: 5 sessions, 0002_base.json to 0006_base.json" in shown(capsys)
    assert files.compare(first, old=[first]) == 4
    assert "verdict: NO_BASELINE" in shown(capsys)


@pytest.mark.parametrize("content", ["", "{", '{"coverage": 1}', None])
def test_file_that_is_no_session_is_named_and_not_passed_over_where_it_was_asked_for(
    files, capsys, content
):
    bad = files.folder / "bad.json"
    if content is not None:
        bad.write_text(content)
    assert files.compare(old=[files.old, bad]) == 4
    text = shown(capsys)
    assert f"cnnprec compare: {bad}: " in text
    assert "verdict" not in text
    assert files.compare(bad, files.new) == 4
    text = shown(capsys)
    assert f"cnnprec compare: {bad}: " in text
    assert f"session: {files.new}" in text


def test_foreign_file_in_a_folder_of_old_is_skipped_by_name(files, capsys):
    (files.old / "verdict.json").write_text('{"coverage": 1}')
    assert files.compare() == 0
    assert "baseline: SKIPPED verdict.json: not the layout of pytest-benchmark" in shown(capsys)


def test_folder_without_a_session_is_refused(files, capsys):
    empty = files.folder / "empty"
    empty.mkdir()
    for sides in ({"old": [empty]}, {"old": [files.old, empty]}):
        assert files.compare(**sides) == 4
        assert f"{empty}: there is no saved session in this folder" in shown(capsys)
    assert files.compare(empty) == 4
    (empty / "x.json").write_text("{")
    assert files.compare(old=[empty]) == 4
    assert f"{empty / 'x.json'}: not whole" in shown(capsys)


# Limits of a project.


def test_limits_come_from_the_pyproject_of_this_folder(files, capsys, monkeypatch):
    monkeypatch.chdir(files.folder)
    files.put("new.json", session(1.2))
    assert files.compare() == 1
    assert "limits:" not in shown(capsys)
    settings = files.folder / "pyproject.toml"
    settings.write_text('[tool.cnnprec.limits]\nspeed = {tolerance = "30%", margin = "50%"}\n')
    assert files.compare() == 0
    assert "limits: speed 30% to 50%; memory 10% to 25% " in shown(capsys)


def test_limits_of_a_row_count_more_than_those_of_the_command_line(files, monkeypatch):
    monkeypatch.chdir(files.folder)
    files.put("new.json", session(1.2))
    wide = ["--tolerance=30%", "--margin=50%"]
    assert files.compare(options=wide) == 0
    (files.folder / "pyproject.toml").write_text(
        '[tool.cnnprec.limits]\n"speed.single" = {tolerance = "3%", margin = "10%"}\n'
    )
    assert files.compare(options=wide) == 1
    (files.folder / "pyproject.toml").write_text(
        '[tool.cnnprec.limits]\n"speed.half" = {tolerance = "3%", margin = "10%"}\n'
    )
    assert files.compare(options=wide) == 0


def test_bad_limits_are_refused(files, capsys, monkeypatch):
    monkeypatch.chdir(files.folder)
    (files.folder / "pyproject.toml").write_text("[tool.cnnprec.limits]\nsped = {margin = 1}\n")
    assert files.compare() == 4
    assert "pyproject.toml: [tool.cnnprec.limits]: unknown key 'sped'" in shown(capsys)
    (files.folder / "pyproject.toml").unlink()
    assert files.compare(options=["--tolerance=20%"]) == 4
    assert "the tolerance must be at least 0 and smaller" in shown(capsys)


# --verdict-json.


def test_verdict_json_holds_everything(files):
    target = files.folder / "made" / "verdict.json"
    assert files.compare(options=[f"--verdict-json={target}"]) == 0
    plain = json.loads(target.read_text())
    assert list(plain) == [
        "version",
        "verdict",
        "basis",
        "changed",
        "judgements",
        "baseline",
        "session",
    ]
    assert (plain["version"], plain["verdict"]) == (1, "PASS")
    assert plain["basis"] == "6 saved sessions"
    assert plain["session"] == str(files.new)
    assert plain["baseline"] == [str(path) for path in sorted(files.old.iterdir())]
    rows = {(row["metric"], row["precision"]): row for row in plain["judgements"]}
    speed = rows["speed", "single"]
    assert list(speed) == [
        *("metric", "precision", "verdict", "reason", "quantity"),
        *("ratio", "low", "high", "detectable", "count"),
    ]
    assert (speed["quantity"], speed["count"]) == ("time per step", 6)
    assert speed["low"] < speed["ratio"] < speed["high"]
    assert rows["outcome", "single"]["ratio"] is None
    assert [path.name for path in target.parent.iterdir()] == ["verdict.json"]


def test_verdict_json_says_what_changed_and_why_nothing_was_compared(files):
    target = files.folder / "verdict.json"
    new = files.put("new.json", with_environment(session(), keras="9.9"))
    assert files.compare(new, options=[f"--verdict-json={target}"]) == 0
    (changed,) = json.loads(target.read_text())["changed"]
    assert changed == {"name": "keras", "baseline": "3.15.1", "current": "9.9"}
    new = files.put("new.json", with_environment(session(), cpu_model="Other"))
    assert files.compare(new, options=[f"--verdict-json={target}"]) == 4
    plain = json.loads(target.read_text())
    assert (plain["verdict"], plain["baseline"]) == ("INCOMPARABLE", [])


def test_times_that_nothing_can_take_are_refused_by_file_and_field(files, capsys):
    slow = files.put("new.json", session(1e200))
    assert files.compare(slow) == 4
    text = shown(capsys)
    assert "new.json" in text
    assert "<= 1000000000.0 - at `$.rounds[0].seconds`" in text


def test_verdict_json_of_several_sessions_is_refused(files, capsys):
    second = files.put("second.json", session(1.001))
    target = files.folder / "verdict.json"
    assert files.compare(files.new, second, options=[f"--verdict-json={target}"]) == 4
    assert "the verdicts on one session and NEW are 2" in shown(capsys)
    assert not target.exists()


def test_older_verdict_does_not_outlive_a_run_that_has_none(files):
    target = files.folder / "verdict.json"
    options = [f"--verdict-json={target}"]
    assert files.compare(options=options) == 0
    assert target.exists()
    assert files.compare(files.folder / "missing.json", options=options) == 4
    assert not target.exists()


def test_verdict_json_never_replaces_what_is_no_verdict(files, capsys):
    before = files.new.read_text()
    assert files.compare(options=[f"--verdict-json={files.new}"]) == 4
    assert f"{files.new} is there and holds no verdict; give another name" in shown(capsys)
    assert files.new.read_text() == before
    assert files.compare(options=[f"--verdict-json={files.old}"]) == 4
    of_ab = files.folder / "ab.json"
    of_ab.write_text('{"version": 1, "plan": {}, "verdict": "PASS", "judgements": []}')
    assert files.compare(options=[f"--verdict-json={of_ab}"]) == 4
    assert of_ab.exists()
    empty = files.folder / "empty"
    empty.touch()
    assert files.compare(options=[f"--verdict-json={empty}"]) == 0
    assert json.loads(empty.read_text())["verdict"] == "PASS"


def test_verdict_json_that_cannot_be_written_is_refused(files, capsys):
    target = files.new / "verdict.json"
    assert files.compare(options=[f"--verdict-json={target}"]) == 4
    assert f"{target} cannot be written" in shown(capsys)


def test_verdict_json_is_written_whole_or_not_at_all(files, capsys, monkeypatch):
    def full(descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    target = files.folder / "verdicts" / "verdict.json"
    assert files.compare(options=[f"--verdict-json={target}"]) == 4
    assert "No space left on device" in shown(capsys)
    assert list(target.parent.iterdir()) == []


# The process.


def test_comparing_loads_no_tensorflow(files):
    code = (
        "import sys; from cnnprec.cli.main import main; "
        f"code = main(['compare', {str(files.old)!r}, '--', {str(files.new)!r}]); "
        "print({'tensorflow', 'keras', 'pytest'} & set(sys.modules)); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == "set()"


def test_a_reader_that_has_seen_enough_does_not_turn_a_failure_into_a_pass(files):
    slow = files.put("slow.json", session(2.0))
    reading, writing = os.pipe()
    os.close(reading)
    words = ["compare", str(files.old), "--", str(slow)]
    done = subprocess.run(
        [sys.executable, "-m", "cnnprec.cli.main", *words],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")
