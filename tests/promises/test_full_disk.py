"""A full disk costs the one file that lies on it: no other output, no torso, no RESULTS."""

import json
import re
from pathlib import Path

import pytest

from cnnprec.records.read_sessions import read_session

OUTPUTS = ("--benchmark-json", "--benchmark-save", "--verdict-json", "--junitxml")


@pytest.mark.parametrize("full", [None, *OUTPUTS])
def test_one_output_that_cannot_be_written_stops_no_other(saved, fill, full):
    places = {name: saved.path / name.strip("-") / "file" for name in OUTPUTS}
    places["--benchmark-save"] = saved.folder / "0007_late.json"
    options = {**places, "--benchmark-save": "late"}
    if full == "--junitxml":
        options[full] = Path("/dev/full")  # pytest itself writes it
    elif full:
        fill(places[full].parent)
    result = saved.compare(*(f"{name}={value}" for name, value in options.items()))
    text = result.stdout.str()
    assert "= RESULTS =" in text
    assert "= VERDICTS =" in text
    assert "Traceback" not in text + result.stderr.str()
    problems = re.findall(r"^NOT (?:SAVED|WRITTEN): .*No space left on device.*", text, re.M)
    assert len(problems) == bool(full)
    assert (result.ret == pytest.ExitCode.OK) is (full is None)
    assert {name for name, place in places.items() if not place.exists()} == {full} - {None}
    assert not list(saved.path.rglob(".*.tmp"))
    for name in ("--benchmark-json", "--benchmark-save"):
        assert full == name or set(read_session(places[name]).records) == {"single", "half"}
    if full != "--verdict-json":
        assert json.loads(places["--verdict-json"].read_text())["verdict"] == "PASS"


def test_older_file_stays_where_the_new_one_cannot_be_written(saved, fill):
    older = saved.path / "json" / "older.json"
    older.parent.mkdir()
    older.write_text("older")
    fill(older.parent)
    assert saved.run("--precision=single", f"--benchmark-json={older}").ret == 1
    assert older.read_text() == "older"


def test_device_is_written_and_not_replaced(saved):
    result = saved.run("--precision=single", "--benchmark-json=/dev/full")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.re_match_lines([r"NOT WRITTEN: --benchmark-json /dev/full: No space left .*"])
    assert Path("/dev/full").is_char_device()
