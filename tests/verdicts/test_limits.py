"""Limits by metric and precision: which hold, and which tables are refused."""

import pytest

from cnnprec.verdicts.compare import compare
from cnnprec.verdicts.limits import (
    DEFAULT_MEMORY,
    LimitTable,
    limit_table,
    parse_limits,
    read_limits,
)
from cnnprec.verdicts.verdict import Limits, Metric, Verdict
from tests.support.histories import QUIET, both, on_gpu, session, verdict

NARROW = Limits(0.03, 0.10)


def of(table: LimitTable, metric: Metric, precision: str) -> tuple[float, float]:
    limits = table.of(metric, precision)
    return limits.tolerance, limits.margin


@pytest.mark.parametrize(
    ("plain", "metric", "precision", "expected"),
    [
        ({}, Metric.SPEED, "half", (0.03, 0.10)),
        ({}, Metric.MEMORY, "", (0.10, 0.25)),
        ({"speed": {"tolerance": "5%", "margin": "20%"}}, Metric.SPEED, "half", (0.05, 0.20)),
        ({"speed": {"margin": 0.2}}, Metric.SPEED, "half", (0.03, 0.20)),
        ({"speed": {"margin": "20%"}}, Metric.MEMORY, "", (0.10, 0.25)),
        ({"memory": {"margin": "50%"}}, Metric.MEMORY, "", (0.10, 0.50)),
        ({"memory": {"margin": "50%"}}, Metric.SPEED, "half", (0.03, 0.10)),
        ({"speed.half": {"tolerance": "5%"}}, Metric.SPEED, "half", (0.05, 0.10)),
        ({"speed.FP16": {"tolerance": "5%"}}, Metric.SPEED, "half", (0.05, 0.10)),
        ({"speed.half": {"tolerance": "5%"}}, Metric.SPEED, "single", (0.03, 0.10)),
        ({"speed.half": {"tolerance": "5%"}}, Metric.MEMORY, "half", (0.10, 0.25)),
        ({"memory.half": {"tolerance": 0}}, Metric.MEMORY, "half", (0.0, 0.25)),
        (
            {"speed.half": {"tolerance": "5%"}, "speed": {"margin": "20%"}},
            Metric.SPEED,
            "half",
            (0.05, 0.20),
        ),
    ],
)
def test_the_row_about_it_holds_else_that_of_the_metric_else_the_default(
    plain, metric, precision, expected
):
    assert of(parse_limits(plain, NARROW), metric, precision) == pytest.approx(expected)


def test_default_is_that_of_the_command_line():
    wide = Limits(0.3, 0.5)
    table = parse_limits({"speed.half": {"tolerance": "3%", "margin": "10%"}}, wide)
    assert of(table, Metric.SPEED, "single") == (0.3, 0.5)
    assert of(table, Metric.SPEED, "half") == (0.03, 0.10)
    assert table.memory == DEFAULT_MEMORY


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ("3%", "'3%' is no table"),
        ({"sped": {}}, r"unknown key 'sped'. Did you mean 'speed'\?.*Accepted: speed, memory"),
        ({"accuracy": {}}, "unknown key 'accuracy'"),
        ({"": {}}, "unknown key ''"),
        ({"speed.": {"margin": 0.2}}, "key 'speed.': empty name of a precision"),
        ({"speed.haf": {"margin": 0.2}}, "key 'speed.haf': unknown precision 'haf'.*Known"),
        ({"speed": {"half": {"margin": 0.2}}}, 'write the key in quotes: "speed.half"'),
        ({"speed": "3%"}, "speed = '3%': write a table"),
        ({"speed": {}}, "speed = {}: write a table"),
        ({"speed": {"tolerence": "3%"}}, r"speed: unknown key 'tolerence'. Did you mean 'toler"),
        ({"speed": {"margin": "wide"}}, "speed: 'wide' is not a share"),
        ({"speed": {"margin": True}}, "speed: 'True' is not a share"),
        ({"speed": {"margin": -0.1}}, "speed: '-0.1' is not a share"),
        ({"speed": {"margin": float("nan")}}, "speed: 'nan' is not a share"),
        ({"speed": {"margin": [1]}}, r"speed: '\[1\]' is not a share"),
        ({"speed": {"margin": "2%"}}, "speed: tolerance 0.03 and margin 0.02"),
        ({"speed.half": {"tolerance": "12%"}}, "speed.half: tolerance 0.12 and margin 0.1"),
        (
            {"speed.half": {"margin": 0.2}, "speed.fp16": {"margin": 0.3}},
            "'speed.fp16' and 'speed.half' are about the same",
        ),
    ],
)
def test_table_that_is_not_accepted_is_refused_by_key(plain, message):
    with pytest.raises(ValueError, match=message):
        parse_limits(plain, NARROW)


def test_limits_alone_are_those_of_times():
    assert limit_table(None) == LimitTable()
    assert limit_table(Limits(0.2, 0.3)) == LimitTable(Limits(0.2, 0.3))
    assert limit_table(LimitTable(memory=NARROW)) == LimitTable(memory=NARROW)


def test_table_as_text_has_every_row():
    table = parse_limits({"speed.half": {"tolerance": "2.5%"}}, NARROW)
    assert str(table) == "speed 3% to 10%; memory 10% to 25%; speed.half 2.5% to 10%"


# Judging by them.


def test_each_precision_is_judged_by_its_own_row():
    baseline = [both(factor) for factor in QUIET]
    table = parse_limits({"speed.half": {"tolerance": "30%", "margin": "50%"}}, NARROW)
    slow, usual = both(1.2), both(1.0)
    single = compare(baseline, {**usual, "single": slow["single"]}, limits=table)
    assert verdict(single, "speed", "single") is Verdict.FAIL
    half = compare(baseline, {**usual, "half": slow["half"]}, limits=table)
    assert verdict(half, "speed", "half") is Verdict.PASS
    assert "growth of 50% or more is excluded" in half.of("speed", "half").reason
    half = compare(baseline, {**usual, "half": slow["half"]})
    assert verdict(half, "speed", "half") is Verdict.FAIL


def test_memory_is_judged_by_its_own_row():
    grown = session(peak_memory_bytes=600_000_000)
    baseline = [session(factor) for factor in QUIET]
    assert verdict(compare(baseline, grown), "memory", "") is Verdict.FAIL
    table = parse_limits({"memory": {"tolerance": "30%", "margin": "50%"}}, NARROW)
    assert verdict(compare(baseline, grown, limits=table), "memory", "") is Verdict.PASS
    table = parse_limits({"memory.single": {"tolerance": "30%", "margin": "50%"}}, NARROW)
    # On a CPU the memory is that of the process, on a GPU that of the precision.
    assert verdict(compare(baseline, grown, limits=table), "memory", "") is Verdict.FAIL
    of_gpu = compare([on_gpu(s) for s in baseline], on_gpu(grown), limits=table)
    assert verdict(of_gpu, "memory", "single") is Verdict.PASS


# Reading a file.


@pytest.mark.parametrize(
    "text", ["", "[tool.other]\nx = 1\n", "[tool.cnnprec]\n", "[tool.cnnprec.limits]\n", "tool = 1"]
)
def test_file_without_the_table_has_the_default_limits(tmp_path, text):
    path = tmp_path / "pyproject.toml"
    path.write_text(text)
    assert read_limits(path, NARROW) == LimitTable(NARROW)


def test_no_file_has_the_default_limits(tmp_path):
    assert read_limits(tmp_path / "pyproject.toml", NARROW) == LimitTable(NARROW)


def test_file_with_the_table_is_read(tmp_path):
    path = tmp_path / "pyproject.toml"
    path.write_text(
        '[tool.cnnprec.limits]\nspeed = {margin = "20%"}\n"speed.half" = {margin = 0.3}'
    )
    assert str(read_limits(path, NARROW)) == (
        "speed 3% to 20%; memory 10% to 25%; speed.half 3% to 30%"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[tool", "is not valid TOML"),
        (b"\xff", "is not valid TOML"),
        (b"[tool]\ncnnprec = 1", "tool.cnnprec = 1: write a table"),
        (
            b"[tool.cnnprec.limit]",
            "unknown key 'limit'. Did you mean 'limits'.*Accepted: precision, profile",
        ),
        (b"[tool.cnnprec]\nlimits = 1", r"\[tool.cnnprec.limits\]: 1 is no table"),
        (b"[tool.cnnprec.limits]\nspeed = 1", r"\[tool.cnnprec.limits\]: speed = 1: write a table"),
        (None, "cannot be read: Is a directory"),
    ],
)
def test_file_that_is_not_accepted_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "pyproject.toml"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"pyproject.toml: {message}|pyproject.toml: .*{message}"):
        read_limits(path, NARROW)
