"""The command line: help, exit codes, and ``cnnprec report``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import cnnprec
from cnnprec.ab import plan
from cnnprec.cli.main import main
from cnnprec.reports.results import results
from tests.ab.test_ab import record, session


@pytest.fixture
def saved(tmp_path) -> Path:
    path = tmp_path / "0001_first.json"
    path.write_text(session(record("single"), record("half")))
    return path


def usage_error(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 4
    return capsys.readouterr().err


def helped(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--help"])
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_help_is_short_and_has_examples(capsys):
    text = helped(capsys)
    assert "cnnprec ab --b-checkout ../new" in text
    assert "cnnprec report benchmarks/" in text
    # A terminal's height.
    assert len(text.splitlines()) <= 24


def test_no_command_shows_the_help(capsys):
    text = helped(capsys)
    assert main([]) == 0
    assert capsys.readouterr().out == text


def test_version_is_shown(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"cnnprec {cnnprec.__version__}\n"


def test_help_of_ab_explains_every_exit_code(capsys):
    text = helped(capsys, "ab")
    codes = text.partition("exit codes:")[2].strip().partition("\n\n")[0]
    listed = {int(line.split()[0]) for line in codes.splitlines()}
    assert listed == {int(code) for code in plan.Exit}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare"], "compare"),
        (["--no-such"], "--no-such"),
        (["report"], "FILE"),
        (["ab", "--no-such"], "--no-such"),
        (["ab", "extra"], "extra"),
        (["ab", "--look=6"], "--look"),
        (["ab", "--looks=2"], "starts with 2 pairs"),
        (["ab", "--margin=wide"], "wide"),
    ],
)
def test_bad_options_are_usage_errors(capsys, arguments, message):
    text = usage_error(capsys, *arguments)
    assert message in text
    assert "--help" in text


def test_errors_of_ab_are_messages_without_a_traceback(capsys, tmp_path):
    assert main(["ab", f"--a-checkout={tmp_path}"]) == 4
    text = capsys.readouterr().err
    assert text.startswith(f"cnnprec ab: --a-checkout {tmp_path}: no checkout")


def test_report_prints_results_of_a_saved_session(capsys, saved):
    assert main(["report", str(saved)]) == 0
    expected = results([record("single"), record("half")])
    assert capsys.readouterr().out.splitlines() == expected


def test_report_names_the_file_where_there_are_several(capsys, saved):
    other = saved.with_name("0002_second.json")
    other.write_text(session(record("double")))
    assert main(["report", str(saved), str(other)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{saved}:"
    assert f"{other}:" in lines


def test_report_as_markdown_is_a_block_under_the_name_of_the_file(capsys, saved):
    assert main(["report", "--markdown", str(saved)]) == 0
    expected = results([record("single"), record("half")])
    assert capsys.readouterr().out.splitlines() == [
        *("## 0001_first.json", "", "```", *expected, "```"),
    ]


def test_report_goes_on_after_a_file_that_cannot_be_read(capsys, saved):
    broken = saved.with_name("broken.json")
    broken.write_text("{")
    missing = saved.with_name("missing.json")
    assert main(["report", str(broken), str(missing), str(saved)]) == 4
    shown = capsys.readouterr()
    assert str(broken) in shown.err
    assert str(missing) in shown.err
    assert "Traceback" not in shown.err
    assert shown.out.count("precision") == 1
    assert "single" in shown.out


def test_report_to_a_reader_that_has_seen_enough_ends_quietly(saved):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "cnnprec.cli.main", "report", str(saved)],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(cnnprec.__file__).parent.parent,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
