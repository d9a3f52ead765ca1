"""Saving, comparing and the verdict items, tested by running pytest sessions."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import xml.etree.ElementTree as ElementTree

import pytest

from cnnprec.machine.names import machine_id
from cnnprec.precision.precisions import PRECISIONS
from cnnprec.pytest_plugin import options
from cnnprec.records.record import Record
from cnnprec.verdicts.case import ENOUGH
from cnnprec.verdicts.comparability import FIELDS, STACK_NAMES, Part
from cnnprec.verdicts.judge_numbers import Check
from cnnprec.verdicts.verdict import PRECISION_METRICS, SESSION_METRICS
from tests.support.mutations import NOT_COMPARED, PATHS, changed
from tests.support.project import DUE, Project
from tests.support.session_bytes import MOST_BYTES

# The traps of pytest-benchmark: situations that it lets pass.


def test_same_speed_passes_and_the_verdicts_come_last(saved):
    result = saved.compare("-v")
    assert result.ret == 0
    result.assert_outcomes(passed=2 + DUE, deselected=2 + 2 * len(Check))
    lines = [line for line in result.outlines if "PASSED" in line]
    assert all("test_training" in line for line in lines[:2])
    assert all("test_verdict" in line for line in lines[2:])
    result.stdout.re_match_lines(
        [
            r"baseline: 6 sessions of .*, 0001_base\.json to 0006_base\.json",
            r"baseline: saved 2026-01-01 00:00 to 2026-01-06 00:00 UTC",
            r"=+ VERDICTS =+",
            r"compared with 6 saved sessions; nothing changed in the stack",
            r"precision +what +ratio +95 % bounds +detectable +sessions +verdict",
            r"single +time per step +1\.000 +0\.\d+ to 1\.0\d+ +\+\d+% +6 +PASS",
            r"verdict: PASS",
        ]
    )


def test_twice_as_slow_fails(saved):
    saved.plan(half={"seconds": 4.0, "cpu_seconds": 6.0})
    result = saved.compare()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.re_match_lines(
        [
            r"FAIL: time per step grew by more than 3% \(ratio (2\.0|1\.99).*",
            r"half +time per step +(2\.0|1\.99).* FAIL",
            r"verdict: FAIL",
        ]
    )
    result.stdout.no_re_match_line(r"single +time per step.*FAIL")


def test_no_baseline_is_refused_before_measuring(project):
    text = project.refused("--benchmark-compare")
    assert "NO_BASELINE: there are no saved sessions" in text
    assert "pytest benchmarks/ --benchmark-save=baseline" in text


def test_rule_on_rounds_is_refused_before_measuring_with_and_without_a_baseline(saved):
    arguments = ("--benchmark-compare", "--benchmark-compare-fail=mean:5%")
    text = saved.refused(*arguments)
    assert "--benchmark-compare-fail judges the rounds of one process" in text
    assert "--tolerance" in text
    shutil.rmtree(saved.folder)
    assert "--benchmark-compare-fail" in saved.refused(*arguments)


def test_renamed_benchmark_fails_under_both_names(saved):
    def rename(plain):
        plain["benchmarks"][1]["extra_info"]["cnnprec"]["precision"]["name"] = "quarter"

    for path in saved.files():
        saved.edit(path, rename)
    result = saved.run("--precision=single,half", "--benchmark-compare")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.re_match_lines(
        [r"NO_BASELINE: \w+ is in no comparable baseline session; save 5 sessions.*"]
    )


def test_session_of_other_precisions_is_refused_before_measuring(saved, monkeypatch):
    text = saved.refused("--precision=single", "--benchmark-compare")
    assert "INCOMPARABLE" in text
    assert "precisions: half, single -> single" in text
    monkeypatch.setattr(options, "supported_precisions", lambda device: (PRECISIONS["single"],))
    assert "precisions: half, single -> single" in saved.refused("--benchmark-compare")


# The refusal matrix: every field of a record, by what it describes.
PART_OF = {field.name: field.part for field in FIELDS}
# Four fields are shown by other names than they have in a record.
SHOWN = {
    "data.name": "data",
    "data.digest": "data_digest",
    "precision.name": "precisions",
    "companions": "precisions",
}
COMPARED = {
    path: SHOWN.get(path, path.partition(".")[2]) for path in PATHS if path not in NOT_COMPARED
}
# A precision of another name is another benchmark.
STACK = [name for name in COMPARED.values() if PART_OF.get(name) is Part.STACK]
FIXED = [path for path, name in COMPARED.items() if name not in STACK]


def test_matrix_has_every_field_once():
    names = [name for path, name in COMPARED.items() if path != "precision.name"]
    # What --jit best chose is not known before measuring (tests/verdicts/test_baseline.py).
    assert sorted(names) == sorted({*PART_OF} - {"precision", "jit_compiled"})
    assert sorted(STACK) == sorted(STACK_NAMES)


def measured_elsewhere(saved: Project, path: str) -> None:
    """Puts one field of all saved sessions to another value."""

    def change(plain):
        for bench in plain["benchmarks"]:
            record = Record.from_dict(bench["extra_info"]["cnnprec"])
            bench["extra_info"]["cnnprec"] = changed(record, path).to_dict()

    for file in saved.files():
        saved.edit(file, change)


@pytest.mark.parametrize("path", FIXED)
def test_baseline_of_another_machine_or_workload_is_refused_before_measuring(saved, path):
    measured_elsewhere(saved, path)
    for vary in ([], [f"--vary={','.join(STACK_NAMES)}"]):
        text = saved.refused("--precision=single,half", *vary, "--benchmark-compare")
        assert "INCOMPARABLE" in text
        assert re.search(rf"\b{COMPARED[path]}: .+ -> .+", text)


@pytest.mark.parametrize("name", STACK)
def test_baseline_of_other_software_is_compared_and_listed_unless_others_are_to_vary(saved, name):
    measured_elsewhere(saved, f"environment.{name}")
    for vary in ([], [f"--vary={name}"]):
        result = saved.compare(*vary)
        assert result.ret == 0
        result.stdout.re_match_lines([rf"changed: {name}: .+ -> .+", rf"  {name}: .+ -> .+"])
    others = ",".join(other for other in STACK_NAMES if other != name)
    text = saved.refused("--precision=single,half", f"--vary={others}", "--benchmark-compare")
    assert "INCOMPARABLE" in text
    assert re.search(rf"\b{name}: .+ -> .+", text)


def test_baseline_of_the_schema_before_is_refused_for_the_processor_it_does_not_tell(saved):
    def older(plain):
        for bench in plain["benchmarks"]:
            record = bench["extra_info"]["cnnprec"]
            record["schema_version"] = 2
            del record["environment"]["cpu_features"]

    for path in saved.files():
        saved.edit(path, older)
    text = saved.refused("--precision=single,half", "--benchmark-compare")
    assert "INCOMPARABLE" in text
    assert "cpu_features: unknown -> " in text


def test_live_readings_of_the_machine_are_not_its_identity(saved):
    def other_clock(plain):
        plain["machine_info"]["cpu"]["hz_actual"] = [1, 0]
        plain["machine_info"]["node"] = "elsewhere"

    for path in saved.files():
        saved.edit(path, other_clock)
    result = saved.compare()
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*machine_info is different*")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--epochs=2"], "epochs: 1 -> 2"),
        (["--batch-size=16"], "batch_size: 32 -> 16"),
        (["--train-samples=96"], "train_samples: 64 -> 96"),
    ],
)
def test_other_workload_is_refused_before_measuring(saved, arguments, named):
    text = saved.refused("--precision=single,half", *arguments, "--benchmark-compare")
    assert "INCOMPARABLE" in text
    assert named in text


def test_regression_is_a_failure_in_junit_and_not_a_traceback(saved):
    saved.plan(single={"seconds": 4.0, "cpu_seconds": 6.0})
    result = saved.compare("--junit-xml=junit.xml")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "Traceback" not in result.stdout.str()
    suite = ElementTree.parse(saved.path / "junit.xml").getroot()[0]  # noqa: S314
    # The mean of the two is slower too.
    assert suite.attrib["failures"] == "2"
    failed = {c.attrib["name"]: c for c in suite if c.find("failure") is not None}
    assert set(failed) == {"test_verdict[speed-single]", "test_session_verdict[speed]"}
    case = failed["test_verdict[speed-single]"]
    properties = {p.attrib["name"]: p.attrib["value"] for p in case.iter("property")}
    assert properties["verdict"] == "FAIL"
    assert float(properties["ratio"]) == pytest.approx(2, rel=0.02)  # NOISE is within 1.5 %


def test_session_with_a_failed_body_is_saved_as_failed_and_never_a_baseline(saved):
    saved.plan(half={"fails": True})
    result = saved.run("--precision=single,half", "--benchmark-save=broken")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    path = saved.files()[-1]
    assert path.name == "0007_broken.json"
    assert len(json.loads(path.read_text())["cnnprec"]["failed_tests"]) == 1
    saved.plan()
    result = saved.compare()
    assert result.ret == 0
    result.stdout.re_match_lines(
        [r"baseline: 6 sessions.*0006_base.json", r"baseline: not used 0007_broken\.json: .*fail.*"]
    )


def test_session_with_a_failed_body_is_invalid_though_its_times_are_the_same(saved):
    saved.plan(half={"fails": True})
    result = saved.compare()
    result.assert_outcomes(passed=1 + DUE - 1, failed=2, deselected=2 + 2 * len(Check))
    result.stdout.re_match_lines(
        [
            r".*INVALID: a test of the session failed, so what it measured is not whole.*",
            r"verdict: INVALID",
        ]
    )


def test_slow_session_is_saved_with_its_verdict_and_never_the_next_baseline(saved):
    saved.plan(seconds=4.0, cpu_seconds=6.0)
    for _ in range(2):
        result = saved.compare("--benchmark-autosave")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.re_match_lines([r"baseline: 6 sessions of .*"])
    assert len(saved.files()) == 8
    for path in saved.files()[6:]:
        assert json.loads(path.read_text())["cnnprec"]["verdict"] == "FAIL"


def test_saved_session_keeps_raw_rounds_in_the_folder_of_the_machine(saved):
    (path,) = [path for path in saved.files() if path.name.startswith("0001")]
    assert path.parent.name == machine_id("cpu")
    plain = json.loads(path.read_text())
    for bench in plain["benchmarks"]:
        record = Record.from_dict(bench["extra_info"]["cnnprec"])
        assert len([entry.seconds for entry in record.rounds]) == 3
        assert len(json.dumps(bench)) <= MOST_BYTES


@pytest.mark.parametrize("option", ["--benchmark-disable", "--benchmark-skip", "-n2"])
def test_session_that_times_nothing_cannot_be_compared(saved, option):
    text = saved.refused("--precision=single", option, "--benchmark-compare")
    assert "exclude each other: nothing would be timed" in text


# Traps of our own verdict items.


def test_verdicts_are_deselected_without_a_comparison(project):
    result = project.run("--precision=single")
    result.assert_outcomes(
        passed=1, deselected=len(PRECISION_METRICS) + len(SESSION_METRICS) + len(Check)
    )
    result.stdout.no_fnmatch_line("*VERDICTS*")


@pytest.mark.parametrize("selection", ["training", "single", "speed"])
def test_verdicts_left_out_by_k_are_refused(saved, selection):
    text = saved.refused("--precision=single,half", "-k", selection, "--benchmark-compare")
    assert "--benchmark-compare" in text
    assert "not among the selected tests" in text or "no benchmark was selected" in text


def test_option_that_would_skip_the_verdicts_is_refused(saved):
    text = saved.refused("--benchmark-only", "--benchmark-compare")
    assert "would skip the verdicts" in text


def test_folder_swallowed_as_a_pattern_is_refused(saved):
    text = saved.refused("--benchmark-compare", "benchmarks")
    assert "--benchmark-compare took benchmarks for the sessions" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--require-verdict"], "--require-verdict needs --benchmark-compare"),
        (["--vary=driver"], "--vary needs --benchmark-compare"),
        (["--vary=drver", "--benchmark-compare"], "drver"),
        (["--tolerance=lots"], "'lots' is not a share"),
        (["--tolerance=20%", "--margin=10%"], "the tolerance must be at least 0 and smaller"),
        (["--tolerance=nan"], "'nan' is not a share"),
        (["--margin=-1"], "'-1' is not a share"),
        (["--benchmark-compare=0099"], "no saved sessions that match '0099'"),
        (["--benchmark-storage=elasticsearch+http://x", "--benchmark-save=a"], "give a folder"),
    ],
)
def test_bad_option_is_refused_by_name_and_value(saved, arguments, message):
    assert message in saved.refused(*arguments)


def test_failed_training_has_no_passing_verdict(saved):
    saved.plan(crashes=True)
    result = saved.compare()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=2 + DUE, deselected=2 + 2 * len(Check))


# Verdicts other than speed.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outcome": "diverged"}, "seed 12: trained -> diverged"),
        ({"bytes": 900_000_000}, "peak memory grew by more than 10%"),
        ({"bits": "b", "accuracy": 0.5}, "every run has an accuracy of 50.00% or less"),
        ({"bits": "b"}, "though nothing in the stack changed"),
    ],
)
def test_change_for_the_worse_fails(saved, change, message):
    saved.plan(single=change)
    result = saved.compare()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert message in result.stdout.str()


def test_other_bits_of_another_stack_are_a_notice(saved):
    def older(plain):
        for bench in plain["benchmarks"]:
            bench["extra_info"]["cnnprec"]["environment"]["tensorflow"] = "2.0.0"

    for path in saved.files():
        saved.edit(path, older)
    saved.plan(single={"bits": "b", "loss": 1.500003})
    result = saved.compare()
    assert result.ret == 0
    result.stdout.re_match_lines(
        [
            r"changed: tensorflow: 2\.0\.0 -> .*",
            r"compared with 6 saved sessions; what changed in the stack:",
            r"  tensorflow: 2\.0\.0 -> .*",
            r"NOTICE single numerics: other bits .* differ by at most 2\.0e-06.*",
        ]
    )


def test_vary_lets_only_the_named_software_differ(saved):
    def older(plain):
        for bench in plain["benchmarks"]:
            bench["extra_info"]["cnnprec"]["environment"]["tensorflow"] = "2.0.0"

    for path in saved.files():
        saved.edit(path, older)
    assert saved.compare("--vary=tensorflow").ret == 0
    text = saved.refused("--precision=single,half", "--vary=driver", "--benchmark-compare")
    assert "INCOMPARABLE" in text
    assert "tensorflow: 2.0.0 -> " in text


def test_noise_gives_a_skip_with_its_reason_and_is_refused_where_a_verdict_is_required(saved):
    for path, factor in zip(saved.files(), (0.7, 1.3, 0.8, 1.2, 0.75, 1.25), strict=True):

        def spread(plain, factor=factor):
            for bench in plain["benchmarks"]:
                for entry in bench["extra_info"]["cnnprec"]["rounds"]:
                    entry["seconds"] = 2.0 * factor

        saved.edit(path, spread)
    result = saved.compare()
    assert result.ret == 0
    result.assert_outcomes(passed=2 + DUE - 3, skipped=3, deselected=2 + 2 * len(Check))
    result.stdout.re_match_lines(
        [r"SKIPPED .*INCONCLUSIVE: time per step: growth of 10% cannot be excluded \(ratio.*"]
    )
    text = saved.refused("--precision=single,half", "--require-verdict", "--benchmark-compare")
    assert "10.0% is out of reach with this noise" in text


def test_an_inconclusive_verdict_is_a_failure_where_a_verdict_is_required(saved):
    saved.plan(half={"seconds": 2.07})
    assert saved.compare("--margin=5%").ret == 0
    result = saved.compare("--margin=5%", "--detect=10%", "--require-verdict")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.re_match_lines([r".*INCONCLUSIVE: time per step: growth of 5% cannot be excl.*"])


def test_too_few_sessions_give_the_ratio_and_how_many_are_missing(saved):
    for path in saved.files()[2:]:
        path.unlink()
    result = saved.compare()
    assert result.ret == 0
    assert f"{ENOUGH} sessions needed, 2 found" in result.stdout.str()
    assert "3 more times" in result.stdout.str()
    text = saved.refused("--precision=single,half", "--require-verdict", "--benchmark-compare")
    assert "--require-verdict: 2 sessions; 5 are needed to find any slowdown" in text


# Files.


def test_damaged_file_is_named_and_skipped(saved):
    path = saved.files()[0]
    path.write_text(path.read_text()[:1000])
    result = saved.compare()
    assert result.ret == 0
    result.stdout.re_match_lines(
        [r"baseline: 5 sessions.*", r"baseline: SKIPPED 0001_base\.json: .*"]
    )


def test_copies_of_one_session_make_no_baseline_and_are_named(saved):
    first, *others = saved.files()
    for path in others:
        path.write_text(first.read_text())
    (saved.folder / "again").symlink_to(".")
    result = saved.compare()
    assert result.ret == 0
    result.stdout.re_match_lines(
        [
            r"baseline: 1 session of .*, 0001_base\.json",
            r"baseline: SKIPPED 0002_base\.json: copy of 0001_base\.json.*",
            rf"SKIPPED .*INCONCLUSIVE: .*{ENOUGH} sessions needed, 1 found.*",
        ]
    )
    assert str(result.stdout).count("copy of") == len(others)


def test_only_damaged_files_are_no_baseline(saved):
    for path in saved.files():
        path.write_text("{")
    text = saved.refused("--benchmark-compare")
    assert "NO_BASELINE" in text
    assert "skipped 0006_base.json" in text


def test_disk_that_is_full_loses_nothing_and_is_no_success(saved, monkeypatch):
    before = {path: path.read_bytes() for path in saved.files()}

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    result = saved.run("--precision=single", "--benchmark-save=late")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.re_match_lines([r"NOT SAVED: .*No space left on device.*"])
    assert {path: path.read_bytes() for path in saved.folder.iterdir()} == before


def test_baseline_can_be_chosen_by_number(saved):
    result = saved.run("--precision=single,half", "--benchmark-compare=0002")
    assert result.ret == 0
    result.stdout.re_match_lines([r"baseline: 1 session of .*, 0002_base\.json"])


def test_saving_relies_on_attributes_that_pytest_benchmark_still_has(pytestconfig):
    benchmarks = pytestconfig._benchmarksession
    assert all(hasattr(benchmarks, name) for name in ("save", "autosave", "json", "storage"))
    assert hasattr(benchmarks.storage, "save")


# What the baseline can find.


def test_what_the_baseline_finds_is_said_before_measuring(saved):
    result = saved.compare()
    assert result.ret == 0
    result.stdout.re_match_lines(
        [
            r"baseline: 6 sessions find a slowdown of \d\.\d% in 4 of 5 cases \((single|half)\)",
            r".*test_training.*",
        ]
    )


def test_a_slowdown_that_the_baseline_cannot_find_is_said_or_refused(saved):
    result = saved.compare("--detect=5.3%")
    assert result.ret == 0
    result.stdout.re_match_lines([r"baseline: 6 sessions find .*; about \d+ more for 5\.3%"])
    text = saved.refused(
        *("--precision=single,half", "--detect=5.3%", "--require-verdict", "--benchmark-compare")
    )
    assert re.search(r"--require-verdict: 6 sessions find .*; about \d+ more for 5\.3%", text)
    assert "Save more with cnnprec baseline, or give a larger --detect" in text


@pytest.mark.parametrize("share", ["0", "3%", "300%"])
def test_a_slowdown_that_makes_no_sense_is_refused(saved, share):
    text = saved.refused("--precision=single,half", f"--detect={share}", "--benchmark-compare")
    assert "give a slowdown above the tolerance, 0.03, and up to 1" in text


def test_collecting_alone_says_what_would_be_compared_with(saved, project):
    arguments = ("--precision=single,half", "--collect-only", "--benchmark-compare")
    result = saved.run(*arguments)
    assert result.ret == 0
    result.stdout.re_match_lines([r"baseline: 6 sessions of .*"])
    for path in saved.files():
        path.unlink()
    assert saved.run(*arguments).ret == pytest.ExitCode.USAGE_ERROR


def test_the_history_is_told_where_it_is_long_enough(saved):
    saved.compare().stdout.no_re_match_line("history:.*")
    (first, *_) = saved.files()
    for number in range(7, 21):
        plain = json.loads(first.read_text())
        plain["datetime"] = f"2026-02-{number:02}T00:00:00+00:00"
        for bench in plain["benchmarks"]:
            record = bench["extra_info"]["cnnprec"]
            for entry in record["rounds"]:
                entry["seconds"] *= 0.5 if record["precision"]["name"] == "half" else 1.0
        (saved.folder / f"{number:04}_base.json").write_text(json.dumps(plain))
    result = saved.compare()
    result.stdout.re_match_lines(
        [r"verdict: .*", r"history: half: \d+\.\d % faster since 2026-02-07 .*"]
    )
    result.stdout.no_re_match_line(r"history:.*single")
