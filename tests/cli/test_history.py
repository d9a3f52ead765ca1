"""The command ``cnnprec history``."""

import math

import pytest

from cnnprec.records.read_sessions import read_sessions
from cnnprec.reports.figures import levels
from cnnprec.verdicts.history import history
from tests.support.commands import run_command
from tests.support.sessions import changed, put


def fill(folder, factors, **environment):
    """A session for each factor on the times of single, a day apart."""
    for place, factor in enumerate(factors):
        plain = changed()
        plain["datetime"] = f"2026-01-{place + 1:02}T12:00:00+00:00"
        for benchmark in plain["benchmarks"]:
            record = benchmark["extra_info"]["cnnprec"]
            record["environment"].update(environment)
            if record["precision"]["name"] == "single":
                for entry in record["rounds"]:
                    entry["seconds"] *= factor
                if record.get("turns"):
                    record["turns"]["seconds"] = [s * factor for s in record["turns"]["seconds"]]
        put(folder / f"{place + 1:04}_run.json", plain)
    return folder


def wave(count, level=1.0):
    return [level * math.exp(0.01 * (-1) ** place) for place in range(count)]


@pytest.fixture
def slower(tmp_path):
    return fill(tmp_path / "saved", [*wave(12), *wave(8, 1.061)])


def run(capsys, *arguments):
    return run_command(capsys, "history", *arguments)


def test_the_table_and_the_sentences(capsys, slower):
    code, out, err = run(capsys, slower)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["saved", "(UTC)", "session", "single", "half"]
    assert lines[1].split()[:3] == ["2026-01-01", "12:00", "0001_run"]
    marked = [line.split()[2] for line in lines if line.endswith("<") or " <  " in line]
    assert marked == ["0013_run"]
    assert lines[-2:] == [
        "single: 6.1 % slower since 2026-01-13 12:00 (0013_run; same software)",
        "half: no change in 20 sessions",
    ]


def test_a_faster_level_and_what_changed_in_the_stack_there(capsys, tmp_path):
    fill(tmp_path, [*wave(12), *wave(8, 0.9)])
    for place in range(13, 21):
        path = tmp_path / f"{place:04}_run.json"
        path.write_text(path.read_text().replace('"keras": "', '"keras": "9'))
    out = run(capsys, tmp_path)[1]
    assert "single: 10.0 % faster since 2026-01-13 12:00 (0013_run; keras: " in out


def test_the_plot_has_a_picture_for_each_precision_under_its_sentence(capsys, slower, tmp_path):
    target = tmp_path / "history.svg"
    assert run(capsys, slower, "--plot", target)[0] == 0
    drawn = target.read_text()
    assert drawn.count("<svg") == 3
    assert "single: 6.1 % slower since" in drawn
    assert "half: no change in 20 sessions" in drawn


def test_levels_are_drawn_where_they_begin(slower):
    sessions, _ = read_sessions(slower)
    single, half = levels(history(sessions, sessions[-1].records))
    assert single.table[0] == ("session, oldest first", "single", "level")
    changes = [(row[0], float(row[2])) for row in single.table[1:] if row[2]]
    assert [place for place, _ in changes] == ["0", "12", "19"]
    assert changes[1][1] / changes[0][1] == pytest.approx(1.061, rel=1e-3)
    assert [row[0] for row in half.table[1:] if row[2]] == ["0", "19"]


def test_one_session_is_shown_and_not_judged(capsys, tmp_path):
    code, out, _ = run(capsys, fill(tmp_path / "saved", [1.0]), "--plot", tmp_path / "x.svg")
    assert code == 0
    assert "single: 1 session; at least 10 are needed to look for a change" in out


def test_sessions_of_another_machine_are_left_out_and_counted(capsys, tmp_path):
    fill(tmp_path / "a", wave(3), cpu_model="Other CPU")
    fill(tmp_path / "b", wave(20))
    code, out, _ = run(capsys, tmp_path / "a", tmp_path / "b")
    assert code == 0
    assert "left out 3 sessions: cpu_model: Other CPU -> " in out
    assert "single: no change in 20 sessions" in out


def test_unreadable_files_are_named_and_the_others_judged(capsys, slower):
    put(slower / "0099_broken.json", "{")
    code, out, err = run(capsys, slower)
    assert code == 0
    assert f"left out {slower / '0099_broken.json'}: not whole and valid JSON" in err
    assert "single: 6.1 % slower" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{saved}", "--plot", "x.png"], "argument --plot: x.png: end its name in .svg"),
        (["{saved}", "--plot", "no/x.svg"], "No such file or directory: 'no/"),
        (["{empty}"], "{empty}: there is no saved session in this folder; save one with"),
        (["{empty}/none"], "{empty}/none: cannot be read: No such file or directory"),
        (["{saved}", "--metric"], "unrecognized arguments: --metric"),
    ],
)
def test_bad_input_is_a_usage_error(capsys, slower, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    names = {"saved": slower, "empty": tmp_path / "empty"}
    code, _, err = run(capsys, *(word.format(**names) for word in arguments))
    assert code == 4
    assert message.format(**names) in err
