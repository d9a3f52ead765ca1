"""Limits of a project's pyproject.toml in a live session, and the same from files."""

import json
import re

import pytest

from cnnprec.cli.main import main

SLOW_HALF = {"seconds": 2.4, "cpu_seconds": 3.6}


def settings(saved, text: str) -> None:
    (saved.path / "pyproject.toml").write_text(f"[tool.cnnprec.limits]\n{text}\n")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", 1),
        ('"speed.half" = {tolerance = "30%", margin = "50%"}', 0),
        ('"speed.fp16" = {tolerance = 0.3, margin = 0.5}', 0),
        ('"speed.single" = {tolerance = "30%", margin = "50%"}', 1),
        ('speed = {tolerance = "30%", margin = "50%"}', 0),
        ('memory = {tolerance = "30%", margin = "50%"}', 1),
    ],
)
def test_rows_hold_for_what_they_name_live_and_from_files(
    saved, tmp_path, monkeypatch, capsys, text, code
):
    settings(saved, text)
    saved.plan(half=SLOW_HALF)
    old = [str(path) for path in saved.files()]
    live, files = tmp_path / "live.json", tmp_path / "files.json"
    result = saved.compare("--benchmark-save=new", f"--verdict-json={live}")
    assert result.ret == code
    assert bool(re.search("limits: speed .*; memory ", result.stdout.str())) is bool(text)
    new = str(saved.files()[-1])
    monkeypatch.chdir(saved.path)
    assert main(["compare", f"--verdict-json={files}", *old, "--", new]) == code
    assert json.loads(live.read_text()) == json.loads(files.read_text())


def test_options_are_for_what_has_no_row(saved):
    wide = ("--tolerance=30%", "--margin=50%")
    saved.plan(half=SLOW_HALF)
    assert saved.compare(*wide).ret == 0
    settings(saved, '"speed.half" = {tolerance = "3%", margin = "10%"}')
    assert saved.compare(*wide).ret == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"speed.haf" = {margin = "10%"}', "key 'speed.haf': unknown precision 'haf'"),
        ('sped = {margin = "10%"}', "unknown key 'sped'. Did you mean 'speed'?"),
        ('speed = {margin = "wide"}', "speed: 'wide' is not a share"),
    ],
)
@pytest.mark.parametrize("arguments", [[], ["--benchmark-compare"]])
def test_bad_limits_are_refused_before_measuring(saved, text, message, arguments):
    settings(saved, text)
    output = saved.refused("--precision=single", *arguments)
    assert message in output
    assert "pyproject.toml" in output
