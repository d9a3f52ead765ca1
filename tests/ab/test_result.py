"""What is kept of a comparison."""

import os
from pathlib import Path

import pytest

from cnnprec.records.read_sessions import read_session
from cnnprec.records.write_whole import write_whole
from tests.support.ab import record, session, text_of


def test_result_is_kept_as_json_with_the_figures_and_the_files_behind_them(bench):
    bench.tell(B={"slower": 1.3})
    bench.run("--", "--profile=quick")
    result = bench.result()
    assert (result["version"], result["verdict"]) == (1, "FAIL")
    speed = next(row for row in result["judgements"] if row["metric"] == "speed")
    assert speed["verdict"] == "FAIL"
    # The noise of a session is 0.5 %, that of the mean of 5 ratios 0.32 %: 1 % is 3 sigma.
    assert speed["ratio"] == pytest.approx(1.3, rel=0.01)
    assert len(result["baseline"]) == 10
    assert all(read_session(Path(path)).records for path in result["baseline"])


def test_result_is_kept_as_markdown_with_the_stack_and_the_command(bench):
    bench.put(session(record("single", tensorflow="2.22.0")), "other.json")
    bench.put(session(record("single", tensorflow="2.21.0")))
    bench.tell(B={"session": "other.json"})
    assert bench.run("--", "--profile", "quick") == 0
    text = (bench.out / "ab.md").read_text()
    assert text.startswith("# cnnprec ab: B against A\n")
    assert (
        f"| A | `{bench.folder}/a/python` | `{bench.folder}/a` | abc123 | 3.11.7 | 2.21.0 |" in text
    )
    assert (
        f"| B | `{bench.folder}/b/python` | `{bench.folder}/b` | abc123 | 3.11.7 | 2.22.0 |" in text
    )
    assert "* tensorflow: 2.21.0 -> 2.22.0" in text
    assert "5 pairs of processes, look 1 of 1" in text
    (command,) = [line for line in text.splitlines() if line.startswith("cnnprec ab ")]
    assert "--looks 5 --tolerance 0.03 --margin 0.1" in command
    assert command.endswith("-- --profile quick")
    assert all(str(bench.folder / side / "python") in command for side in "ab")


def test_a_disk_that_fills_up_while_the_result_is_written_leaves_the_old_result(bench, monkeypatch):
    bench.run()
    before = (bench.out / "ab.json").read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(bench.out / "ab.json", "{}")
    assert (bench.out / "ab.json").read_bytes() == before


@pytest.mark.parametrize("name", ["ab.json", "ab.md"])
def test_a_result_that_cannot_be_written_is_neither_a_pass_nor_a_fail(bench, capsys, name):
    bench.run()
    (bench.out / name).unlink()
    (bench.out / name).mkdir()
    assert bench.run() == 5
    assert "Is a directory" in text_of(capsys)
