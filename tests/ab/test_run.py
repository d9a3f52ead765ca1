"""The work of a comparison: turns, looks, verdicts, and sessions that do not count."""

import dataclasses
import os
from pathlib import Path

import pytest

from cnnprec.ab import plan as planning
from cnnprec.ab import run as running
from cnnprec.cli import ab as ab_command
from cnnprec.records.record import Outcome
from tests.support.ab import ENVIRONMENT, record, session, text_of

# The order of the work.


def test_sessions_run_in_turns_with_one_order_seed_a_pair_from_their_own_checkout(bench):
    assert bench.run("--", "--precision", "single,half", "--profile=quick") == 0
    assert bench.measured() == [str(job) for job in planning.schedule(5)]
    runs = [call for call in bench.noted("calls") if "--collect-only" not in call["words"]]
    for call in (call for call in runs if call["words"][0] == "-m"):
        side, words = call["side"], call["words"]
        checkout = str(bench.folder / side.lower())
        assert call["cwd"] == checkout
        assert call["path"].split(os.pathsep)[0] == checkout
        (target,) = [word for word in words if word.startswith("--benchmark-json=")]
        pair = int(Path(target.partition("=")[2]).name[:4])
        assert target == f"--benchmark-json={bench.out}/sessions/{pair:04d}-{side}.json.partial"
        assert words[4:] == [
            *(f"--order-seed={pair}", "-p", "no:cacheprovider", "-q"),
            *("--precision", "single,half", "--profile=quick"),
        ]


def test_package_path_of_the_user_comes_after_the_checkout(bench, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    bench.run()
    assert bench.noted("calls")[0]["path"] == f"{bench.folder / 'a'}{os.pathsep}/elsewhere"


def test_progress_names_pair_look_side_and_the_time_left(bench, capsys):
    bench.run()
    lines = capsys.readouterr().err.splitlines()
    assert lines[2] == "pair 1 of 5 (look 1 of 1), A: 0 s; about 0 s to the look"
    assert lines[-1] == "pair 5 of 5 (look 1 of 1), B: 0 s"


# Verdicts and looks.


def test_equal_sides_with_little_noise_pass(bench, capsys):
    assert bench.run() == 0
    assert "verdict: PASS" in capsys.readouterr().out


def test_a_side_b_that_is_30_percent_slower_fails(bench, capsys):
    bench.tell(B={"slower": 1.3})
    assert bench.run() == 1
    out = capsys.readouterr().out
    assert "verdict: FAIL" in out
    estimates = {
        judgement["precision"]: judgement["ratio"]
        for judgement in bench.result()["judgements"]
        if judgement["metric"] == "speed"
    }
    # The noise of a session is 0.5 %, that of the mean of 5 ratios 0.32 %: 1 % is 3 sigma.
    assert [estimates[name] for name in ("single", "half")] == pytest.approx([1.3, 1.3], rel=0.01)


def test_github_gets_one_annotation_and_one_page(bench, capsys, monkeypatch, tmp_path):
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert bench.run() == 0
    assert capsys.readouterr().out.count("::notice title=cnnprec PASS, ROLL OUT::") == 1
    assert summary.read_text().count("# cnnprec ab: B against A") == 1
    assert "RESULTS" not in summary.read_text()


def test_a_side_b_that_is_faster_passes(bench):
    bench.tell(B={"slower": 0.7})
    assert bench.run() == 0


def test_noise_far_above_the_margin_is_inconclusive(bench, capsys):
    bench.tell(A={"noise": 0.5}, B={"noise": 0.5})
    assert bench.run() == 3
    assert "not decided, and no look is left" in capsys.readouterr().out


def test_looks_stop_as_soon_as_all_is_decided(bench, capsys):
    assert bench.run(looks="6,12,24") == 0
    assert len(bench.measured()) == 12
    assert "look 1 of 3, 6 pairs: decided" in capsys.readouterr().out


def test_looks_go_on_while_something_is_open(bench, capsys):
    bench.tell(A={"noise": 0.5}, B={"noise": 0.5})
    assert bench.run(looks="3,6,7") == 3
    assert bench.measured() == [str(job) for job in planning.schedule(7)]
    assert "look 1 of 3, 3 pairs: not decided, going on to 6 pairs" in capsys.readouterr().out


def test_error_budget_is_split_between_the_planned_looks(bench, monkeypatch):
    seen = []

    def judge(pairs, **settings):
        seen.append((len(pairs), settings))
        return compare_pairs(pairs, **settings)

    compare_pairs = running.compare_pairs
    monkeypatch.setattr(running, "compare_pairs", judge)
    bench.tell(A={"noise": 0.5}, B={"noise": 0.5})
    bench.run("--tolerance=0.05", "--margin=0.2", looks="3,6")
    settings = {"tolerance": 0.05, "margin": 0.2, "looks": 2}
    assert seen == [(3, settings), (6, settings)]


def test_verdicts_that_more_pairs_cannot_change_do_not_prolong_the_work(bench, capsys):
    # Other weights and three seeds: the accuracy stays inconclusive however often it is run.
    other = record("single")
    rounds = tuple(
        dataclasses.replace(r, run=dataclasses.replace(r.run, weights_sha256="f" * 64))
        for r in other.rounds
    )
    other = dataclasses.replace(other, rounds=rounds)
    changed = {"tensorflow": "2.20.0"}
    environment = dataclasses.replace(ENVIRONMENT, **changed)
    bench.put(session(record("single")))
    bench.put(session(dataclasses.replace(other, environment=environment)), "other.json")
    bench.tell(B={"session": "other.json"})
    assert bench.run(looks="6,12") == 3
    assert len(bench.measured()) == 12
    assert "INCONCLUSIVE single accuracy" in capsys.readouterr().out


def test_an_outcome_that_differs_fails_and_is_listed(bench, capsys):
    bench.put(session(record("single"), record("half", outcome=Outcome.DIVERGED)), "other.json")
    bench.tell(B={"session": "other.json"})
    assert bench.run() == 1
    assert "FAIL half outcome: seed 12: trained -> diverged" in capsys.readouterr().out


def test_all_output_of_a_process_is_in_its_log(bench):
    bench.run()
    text = (bench.out / "logs" / "0002-B.log").read_text()
    assert text.startswith(
        f"$ cd {bench.folder / 'b'} && {bench.folder / 'b' / 'python'} -m pytest"
    )
    assert text.endswith("training in B\n")


def test_a_reader_that_goes_away_is_neither_a_pass_nor_a_fail(bench, monkeypatch):
    def closed(line):
        raise BrokenPipeError

    monkeypatch.setattr(ab_command, "say", closed)
    assert bench.run() == 5
    assert len(bench.files()) == 10


# Going on.


def test_a_finished_comparison_is_shown_again_without_measuring(bench, capsys):
    bench.run()
    shown = capsys.readouterr().out
    calls = len(bench.noted("calls"))
    assert bench.run() == 0
    assert len(bench.noted("calls")) == calls
    assert capsys.readouterr().out == shown


def test_pair_with_one_member_is_completed_with_the_other(bench):
    bench.tell(B={"at": {"0003-B": "fail"}})
    assert bench.run() == 5
    kept = bench.files()
    assert sorted(kept) == [f"{job}.json" for job in sorted(planning.schedule(2))] + ["0003-A.json"]
    bench.tell()
    assert bench.run() == 0
    assert bench.measured() == [
        *(str(job) for job in planning.schedule(3)),
        *("0003-B", "0004-B", "0004-A", "0005-A", "0005-B"),
    ]
    assert {name: bench.files()[name] for name in kept} == kept


def test_torso_of_a_killed_start_is_no_session(bench):
    bench.tell(B={"at": {"0002-B": "fail"}})
    bench.run()
    (bench.out / "sessions" / "0002-B.json.partial").write_text("{}")
    bench.tell()
    assert bench.run() == 0
    assert len(bench.files()) == 10


# Sessions that do not count.


def test_a_process_that_fails_stops_the_work_and_is_not_tried_again(bench, capsys):
    bench.tell(B={"at": {"0001-B": "fail"}})
    assert bench.run() == 5
    text = text_of(capsys)
    assert "pair 1, B, ended with exit code 1" in text
    assert "| training in B | E assert 1 == 2" in text
    assert str(bench.out / "logs" / "0001-B.log") in text
    assert "the same command goes on" in text
    assert bench.measured() == ["0001-A", "0001-B"]
    assert sorted(bench.files()) == ["0001-A.json"]


def test_output_of_a_failed_process_stays_when_the_pair_is_measured_again(bench):
    bench.tell(B={"at": {"0001-B": "fail"}})
    bench.run()
    bench.tell()
    bench.run()
    log = (bench.out / "logs" / "0001-B.log").read_text()
    assert log.count("training in B") == 2
    assert "assert 1 == 2" in log


def test_garbage_after_exit_code_0_is_no_session(bench, capsys):
    bench.tell(A={"at": {"0001-A": "garbage"}})
    assert bench.run() == 5
    assert "pair 1, A, left no session that can be used" in text_of(capsys)
    assert not list((bench.out / "sessions").glob("*.json"))


def test_a_session_that_says_that_it_failed_does_not_count(bench, capsys):
    bench.put(session(record("single"), failed=True))
    assert bench.run() == 5
    assert "reports that a benchmark failed" in text_of(capsys)
    assert not list((bench.out / "sessions").glob("*.json"))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"cpu_model": "Another CPU"}, "cpu_model: Some CPU -> Another CPU"),
        ({"samples": 640}, "train_samples: 320 -> 640"),
    ],
)
def test_other_machine_or_workload_is_incomparable(bench, capsys, other, message):
    # The stack may differ: it is not among the reasons.
    bench.put(session(record("single", keras="3.0.0", **other), record("half")), "other.json")
    bench.tell(B={"session": "other.json"})
    assert bench.run() == 4
    text = text_of(capsys)
    assert "INCOMPARABLE" in text
    assert message in text
    assert "keras" not in text
    assert bench.measured() == ["0001-A", "0001-B"]
    assert not (bench.out / "ab.json").exists()


def test_every_difference_is_listed(bench, capsys):
    bench.put(session(record("single", usable_cores=4, onednn=True), record("half")), "other.json")
    bench.tell(B={"session": "other.json"})
    assert bench.run() == 4
    text = text_of(capsys)
    assert "usable_cores: 2 -> 4" in text
    assert "onednn: off -> on" in text


def test_other_precisions_are_incomparable(bench, capsys):
    bench.put(session(record("single")), "other.json")
    bench.tell(B={"session": "other.json"})
    assert bench.run() == 4
    assert "session 0001-A measured half, single, session 0001-B single" in text_of(capsys)


def test_a_side_that_changes_in_the_middle_is_incomparable(bench, capsys):
    bench.tell(B={"at": {"0002-B": "fail"}})
    assert bench.run() == 5
    bench.put(session(record("single", code="new"), record("half", code="new")))
    bench.tell()
    assert bench.run() == 4
    text = text_of(capsys)
    assert "side B changed during the measurement" in text
    assert "code:" in text
