"""The paired comparison, with stand-ins for the interpreters.

A stand-in plays ``-m pytest``: it notes how it was called and writes a session whose times
follow from the seed and the side. Where only figures and verdicts matter it is called inside
this process, which takes a thousandth of the time; where processes matter it is a real one.
"""

import contextlib
import dataclasses
import importlib.util
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnprec.ab import folder as folders
from cnnprec.ab import plan as planning
from cnnprec.ab import run as running
from cnnprec.ab.processes import Children, InterruptError
from cnnprec.cli import ab as ab_command
from cnnprec.cli.main import main
from cnnprec.precision.precisions import PRECISIONS
from cnnprec.records.json_numbers import encode
from cnnprec.records.read_sessions import read_session
from cnnprec.records.record import DataInfo, Outcome, Record, Round, TrainingRun
from cnnprec.records.write_whole import write_whole
from cnnprec.verdicts.verdict import Verdict
from cnnprec.workload.profiles import TrainingConfig
from tests.support import records

STAND_IN = """
import json, math, os, random, signal, subprocess, sys, time
from pathlib import Path

HERE = Path(__file__).parent


def main(side, words, cwd, environment, say):
    note("calls", {"side": side, "words": words, "cwd": cwd, "path": environment["PYTHONPATH"]})
    told = json.loads((HERE / "told.json").read_text())[side]
    if words[0] == "-c":
        if told.get("starts", True):
            say("cnnprec-ab-probe " + told.get("package", cwd) + "/cnnprec/__init__.py")
            return 0
        say("ModuleNotFoundError: no module named cnnprec")
        return 1
    assert words[:3] == ["-m", "pytest", "benchmarks/test_training.py"]
    if "--collect-only" in words:
        for name in told.get("collects", ["single", "half"]):
            say("benchmarks/test_training.py::test_training[" + name + "]")
        say("ERROR: unknown option" if told.get("collect_status") else "2 tests collected")
        return told.get("collect_status", 0)
    given = dict(word.split("=", 1) for word in words if "=" in word)
    target, seed = Path(given["--benchmark-json"]), int(given["--order-seed"])
    does = told.get("at", {}).get(target.name.partition(".")[0], "")
    say("training in " + side)
    if does:
        target.write_text("torso")
    if does in ("hang", "stubborn"):
        if does == "stubborn":
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        helper = subprocess.Popen(["sleep", "1000"])
        note("running", [os.getpid(), helper.pid])
        if does != "hang":
            os.kill(os.getppid(), told.get("signal", signal.SIGINT))
        time.sleep(1000)
    if does == "fail":
        say("E   assert 1 == 2")
        return 1
    if does == "garbage":
        return 0
    dice = random.Random(str(seed) + side)
    factor = told.get("slower", 1.0) * math.exp(dice.gauss(0, told.get("noise", 0.005)))
    session = json.loads((HERE / told.get("session", "session.json")).read_text())
    for benchmark in session["benchmarks"]:
        for entry in benchmark["extra_info"]["cnnprec"]["rounds"]:
            for field in ("seconds", "cpu_seconds"):
                entry[field] = entry[field] * factor
    target.write_text(json.dumps(session))
    return 0


def note(file, what):
    with (HERE / (file + ".jsonl")).open("a") as lines:
        lines.write(json.dumps(what) + "\\n")


if __name__ == "__main__":
    side, *words = sys.argv[1:]
    if words[0] == "-c":  # the real question, to a real Python
        os.execv(sys.executable, [sys.executable, "-S", *words])
    say = lambda line: print(line, flush=True)
    sys.exit(main(side, words, os.getcwd(), dict(os.environ), say))
"""


ENVIRONMENT = dataclasses.replace(records.ENVIRONMENT, commit="abc123")


def record(precision="single", *, outcome=Outcome.TRAINED, samples=320, **environment) -> Record:
    config = TrainingConfig(
        "test", train_samples=samples, test_samples=100, epochs=2, runs=3, batch_size=32
    )
    rounds = tuple(
        Round(
            TrainingRun(
                seed=12 + place,
                outcome=outcome,
                losses=(2.0, 0.5),
                first_losses=(2.3,),
                test_accuracy=0.9,
                first_bad_step=None,
                loss_scales=(),
                weights_sha256=f"{place}" * 64,
            ),
            seconds=1.0 + place / 100,
            cpu_seconds=2.0 + place / 100,
            peak_memory_bytes=800_000_000,
        )
        for place in range(3)
    )
    return Record(
        precision=PRECISIONS[precision],
        config=config,
        data=DataInfo("fashion-mnist", "/data", "ab" * 32),
        environment=dataclasses.replace(ENVIRONMENT, **environment),
        companions=(),
        jit_compiled=False,
        warm_up_seconds=1.5,
        rounds=rounds,
    )


def session(*records: Record, failed=False) -> str:
    """A file as pytest-benchmark writes it, as far as it is read."""
    return json.dumps(
        {
            "machine_info": {"node": "host"},
            "commit_info": {"id": "abc123", "dirty": False},
            "benchmarks": [
                {
                    "group": "training",
                    "name": f"test_training[{one.precision.name}]",
                    "fullname": f"benchmarks/test_training.py::test_training[{one.precision.name}]",
                    "params": {"precision": one.precision.name},
                    "extra_info": {"cnnprec": one.to_dict()},
                    "stats": {"data": [1.0, 1.01, 1.02]},
                }
                for one in records
            ],
            "datetime": "2026-01-01T00:00:00+00:00",
            "version": "5.3.1",
            "cnnprec": {"version": "0.1.0", "failed": failed},
        }
    )


class Bench:
    """Two checkouts with a stand-in for an interpreter each, and a folder for the results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        for side in "ab":
            (folder / side / "benchmarks").mkdir(parents=True)
            (folder / side / "benchmarks" / "test_training.py").touch()
            (folder / side / "cnnprec").mkdir()
            (folder / side / "cnnprec" / "__init__.py").touch()
            python = folder / side / "python"
            python.write_text(
                f'#!/bin/sh\nexec "{sys.executable}" -S -E "{folder}/stand_in.py" '
                f'{side.upper()} "$@"\n'
            )
            python.chmod(0o755)
        (folder / "stand_in.py").write_text(STAND_IN)
        self.put(session(record("single"), record("half")))
        self.tell()

    def put(self, text: str, name: str = "session.json") -> None:
        (self.folder / name).write_text(text)

    def tell(self, **sides) -> None:
        """Says what each side does from now on, such as ``B={"slower": 1.3}``."""
        (self.folder / "told.json").write_text(json.dumps({"A": {}, "B": {}, **sides}))

    def arguments(self, *more: str, looks: str = "5") -> list[str]:
        sides = [
            word
            for side in "ab"
            for word in (
                *(f"--{side}-python", str(self.folder / side / "python")),
                *(f"--{side}-checkout", str(self.folder / side)),
            )
        ]
        return ["ab", *sides, f"--looks={looks}", f"--out={self.out}", *more]

    def run(self, *more: str, looks: str = "5") -> int:
        return main(self.arguments(*more, looks=looks))

    def start(self, *more: str, looks: str = "5") -> subprocess.Popen:
        """The command as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "cnnprec.cli.main", *self.arguments(*more, looks=looks)],
            cwd=Path(running.__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def noted(self, file: str) -> list:
        path = self.folder / f"{file}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def measured(self) -> list[str]:
        """The sessions that were started, in order, such as ``0001-A``."""
        words = [word for call in self.noted("calls") for word in call["words"]]
        return [Path(word).name.partition(".")[0] for word in words if "--benchmark-json" in word]

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.out / "sessions").iterdir()}

    def result(self) -> dict:
        return json.loads((self.out / "ab.json").read_text())


@pytest.fixture
def real(tmp_path, usual_signals) -> Bench:
    """A bench whose stand-ins are processes."""
    return Bench(tmp_path)


@pytest.fixture
def bench(real, monkeypatch) -> Bench:
    """The bench, whose stand-ins are called inside this process."""
    spec = importlib.util.spec_from_file_location("stand_in", real.folder / "stand_in.py")
    stand_in = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stand_in)

    def play(self, command, *, cwd, env, output, seconds=None):
        self.check()
        side = Path(command[0]).parent.name.upper()
        return stand_in.main(
            side, command[1:], cwd, env, lambda line: output.write(f"{line}\n".encode())
        )

    monkeypatch.setattr(Children, "run", play)
    return real


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_until(condition) -> None:
    # Ends as soon as it can; the limit only keeps a broken test from hanging for ever.
    for _ in range(20_000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("the condition never came true")


def text_of(capsys) -> str:
    """All that was printed, as one line."""
    return " ".join(" ".join(capsys.readouterr()).split())


# The order of the work.


def test_order_is_counterbalanced():
    assert [str(job) for job in planning.schedule(3)] == [
        *("0001-A", "0001-B", "0002-B", "0002-A", "0003-A", "0003-B"),
    ]


@given(st.integers(0, 60))
def test_every_pair_has_both_sides_and_each_side_goes_first_equally_often(pairs):
    jobs = planning.schedule(pairs)
    assert sorted(jobs) == [
        planning.Job(pair, side) for pair in range(1, pairs + 1) for side in "AB"
    ]
    first = [job.side for job in jobs[::2]]
    assert first.count("A") - first.count("B") in (0, 1)
    assert [job.pair for job in jobs[::2]] == [job.pair for job in jobs[1::2]]


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
    assert lines[0] == "pair 1 of 5 (look 1 of 1), A: 0 s; about 0 s to the look"
    assert lines[-1] == "pair 5 of 5 (look 1 of 1), B: 0 s"


def test_time_left_follows_from_the_time_that_each_side_took(tmp_path):
    work = running._Work(plan(tmp_path), tmp_path, None, print, {})
    work._seconds = {"A": [10.0, 14.0], "B": []}
    # B is not known yet and taken to be like A: 12 s each.
    assert work._estimate(planning.schedule(2)) == 48
    work._seconds["B"] = [20.0]
    assert work._estimate(planning.schedule(2)) == 2 * 12 + 2 * 20


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
        judgement["precision"]: judgement["estimate"]
        for judgement in bench.result()["judgements"]
        if judgement["metric"] == "speed"
    }
    # The noise of a session is 0.5 %, that of the mean of 5 ratios 0.32 %: 1 % is 3 sigma.
    assert [estimates[name]["ratio"] for name in ("single", "half")] == pytest.approx(
        [1.3, 1.3], rel=0.01
    )


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
    assert bench.result()["look"] == 1
    assert "look 1 of 3, 6 pairs: decided" in capsys.readouterr().out


def test_looks_go_on_while_something_is_open(bench, capsys):
    bench.tell(A={"noise": 0.5}, B={"noise": 0.5})
    assert bench.run(looks="3,6,7") == 3
    assert bench.measured() == [str(job) for job in planning.schedule(7)]
    assert bench.result()["look"] == 3
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


def test_every_verdict_has_an_exit_code_and_only_a_pass_is_zero():
    assert set(planning.EXIT_OF) == set(Verdict)
    assert [verdict for verdict in Verdict if planning.EXIT_OF[verdict] == 0] == [Verdict.PASS]


# What is kept.


def test_result_is_kept_as_json_with_every_figure(bench):
    bench.tell(B={"slower": 1.3})
    bench.run("--", "--profile=quick")
    result = bench.result()
    assert result["version"] == 1
    assert (result["verdict"], result["exit_code"]) == ("FAIL", 1)
    assert result["plan"]["sides"]["A"]["python"] == str(bench.folder / "a" / "python")
    assert result["plan"]["options"] == ["--profile=quick"]
    assert [pair["order"] for pair in result["pairs"]] == ["AB", "BA", "AB", "BA", "AB"]
    for pair in result["pairs"]:
        for side in "AB":
            path = bench.out / "sessions" / f"{pair['pair']:04d}-{side}.json"
            for name, measured in read_session(path).records.items():
                kept = pair[side][name]
                times = [entry.seconds for entry in measured.rounds]
                assert [entry["seconds"] for entry in kept["rounds"]] == times
                expected = statistics.geometric_mean(times)
                assert kept["figures"]["seconds"] == pytest.approx(expected, rel=1e-12)


def test_figures_that_are_not_finite_are_kept_as_strings():
    assert encode({"a": [float("inf"), float("nan")], "b": (1.5, "x", None)}) == {
        "a": ["inf", "nan"],
        "b": [1.5, "x", None],
    }


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


def test_all_output_of_a_process_is_in_its_log(bench):
    bench.run()
    text = (bench.out / "logs" / "0002-B.log").read_text()
    assert text.startswith(
        f"$ cd {bench.folder / 'b'} && {bench.folder / 'b' / 'python'} -m pytest"
    )
    assert text.endswith("training in B\n")


def test_a_disk_that_fills_up_while_the_result_is_written_leaves_the_old_result(bench, monkeypatch):
    bench.run()
    before = (bench.out / "ab.json").read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(bench.out / "ab.json", "{}")
    assert (bench.out / "ab.json").read_bytes() == before


@pytest.mark.parametrize("name", ["ab.json", "ab.md", "plan.json"])
def test_a_result_that_cannot_be_written_is_neither_a_pass_nor_a_fail(bench, capsys, name):
    (bench.out / name).mkdir(parents=True)
    assert bench.run() == 5
    assert "Is a directory" in text_of(capsys)


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


def test_other_arguments_are_refused_and_named(bench, capsys):
    bench.run()
    before = bench.files()
    capsys.readouterr()
    assert bench.run("--tolerance=0.05", "--", "--runs=10", looks="5,9") == 4
    text = text_of(capsys)
    assert "--looks 5, now 5,9" in text
    assert "--tolerance 0.03, now 0.05" in text
    assert "-- (none), now --runs=10" in text
    assert "--margin 0" not in text.partition("Choose")[0]
    assert "Choose another folder with --out" in text
    assert bench.files() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a plan of cnnprec ab"),
        ('{"version": 1}', "not a plan of cnnprec ab"),
        ("[1]", "layout version None"),
        ('{"version": 2}', "layout version 2; this cnnprec knows 1"),
        (
            '{"version": 1, "sides": {}, "looks": [5], "tolerance": 0.1, "margin": 0.2, '
            '"options": []}',
            "not a plan of cnnprec ab",
        ),
    ],
)
def test_a_plan_that_cannot_be_read_is_refused(bench, capsys, content, message):
    bench.out.mkdir()
    (bench.out / "plan.json").write_text(content)
    assert bench.run() == 4
    text = text_of(capsys)
    assert message in text
    assert "Choose another folder with --out" in text
    assert not bench.noted("calls")


def test_sessions_without_a_plan_are_refused(bench, capsys):
    (bench.out / "sessions").mkdir(parents=True)
    assert bench.run() == 4
    assert "holds sessions but no plan.json" in text_of(capsys)


def test_a_kept_session_that_was_damaged_since_is_named_and_not_silently_replaced(bench, capsys):
    bench.run()
    path = bench.out / "sessions" / "0002-A.json"
    path.write_bytes(path.read_bytes()[:1000])
    capsys.readouterr()
    assert bench.run() == 5
    text = text_of(capsys)
    assert str(path) in text
    assert "delete it and the same command measures it again" in text
    assert path.exists()
    path.unlink()
    assert bench.run() == 0
    assert bench.measured()[10:] == ["0002-A"]


def test_torso_of_a_killed_start_is_no_session(bench):
    bench.tell(B={"at": {"0002-B": "fail"}})
    bench.run()
    (bench.out / "sessions" / "0002-B.json.partial").write_text("{}")
    bench.tell()
    assert bench.run() == 0
    assert len(bench.files()) == 10


def test_folder_in_use_is_refused(bench, capsys):
    with folders.locked(bench.out):
        assert bench.run() == 4
    assert "another cnnprec ab" in text_of(capsys)
    assert bench.run() == 0


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
    bench.put(session(record("single", usable_cores=4, onednn=False), record("half")), "other.json")
    bench.tell(B={"session": "other.json"})
    assert bench.run() == 4
    text = text_of(capsys)
    assert "usable_cores: 2 -> 4" in text
    assert "onednn: on -> off" in text


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


# Refused before anything long is started.


def refused(bench, capsys, *more, **settings) -> str:
    assert bench.run(*more, **settings) == 4
    assert not bench.measured()
    assert not (bench.out / "plan.json").exists()
    return text_of(capsys)


def test_missing_interpreter_is_refused(bench, capsys):
    text = refused(bench, capsys, "--b-python=/no/such/python")
    assert "--b-python /no/such/python: no such program" in text


def test_interpreter_is_found_on_the_path_and_its_link_is_kept(bench, monkeypatch):
    link = bench.folder / "bin" / "python-of-a"
    link.parent.mkdir()
    link.symlink_to(bench.folder / "a" / "python")
    monkeypatch.setenv("PATH", str(link.parent), prepend=os.pathsep)
    found = planning.make_plan(
        a_python="python-of-a", a_checkout=bench.folder / "a", b_checkout=bench.folder / "b"
    )
    assert found.sides["A"].python == str(link)


@pytest.mark.parametrize("missing", ["benchmarks/test_training.py", "cnnprec/__init__.py"])
def test_folder_that_is_no_checkout_is_refused(bench, capsys, missing):
    (bench.folder / "b" / missing).unlink()
    text = refused(bench, capsys)
    assert f"--b-checkout {bench.folder / 'b'}: no checkout of this repository ({missing}" in text


def test_interpreter_without_the_package_is_refused_with_its_output(bench, capsys):
    bench.tell(B={"starts": False})
    text = refused(bench, capsys)
    assert "B: " in text
    assert "| ModuleNotFoundError: no module named cnnprec" in text


def test_interpreter_that_imports_another_package_is_refused(bench, capsys):
    bench.tell(A={"package": "/site-packages"})
    text = refused(bench, capsys)
    assert "imports /site-packages/cnnprec/__init__.py, not the package of" in text


def test_options_that_pytest_refuses_are_refused_with_its_output(bench, capsys):
    bench.tell(B={"collect_status": 4})
    assert "| ERROR: unknown option" in refused(bench, capsys, "--", "--no-such-option")


def test_no_benchmarks_are_refused(bench, capsys):
    bench.tell(A={"collects": []}, B={"collects": []})
    assert "collects no benchmarks" in refused(bench, capsys)


def test_different_benchmarks_are_refused_and_named(bench, capsys):
    bench.tell(B={"collects": ["half", "tf32"]})
    text = refused(bench, capsys)
    assert "Only in A: benchmarks/test_training.py::test_training[single]" in text
    assert "Only in B: benchmarks/test_training.py::test_training[tf32]" in text


def test_both_sides_are_tried_with_the_options_of_the_measurement(bench):
    bench.run("--", "--precision", "single,half", "-v")
    tried = [call for call in bench.noted("calls") if "--collect-only" in call["words"]]
    assert [call["side"] for call in tried] == ["A", "B"]
    for call in tried:
        assert call["words"][-5:-2] == ["--precision", "single,half", "-v"]
        # Last, because -v would change the list that is read.
        assert call["words"][-1] == "--verbosity=-1"


def test_output_folder_that_cannot_be_made_is_refused(bench, capsys):
    (bench.folder / "file").touch()
    bench.out = bench.folder / "file" / "out"
    assert bench.run() == 4
    assert "cannot be written" in text_of(capsys)
    assert not bench.noted("calls")


@pytest.mark.parametrize(
    "option",
    [
        *("--benchmark-json=x", "--benchmark-json", "--order-seed=3", "--benchmark-save=x", "-n"),
        *("-n2", "-nauto", "--numprocesses=2", "--benchmark-compare", "--benchmark-compare=1"),
        *("--benchmark-disable", "--benchmark-autosave", "--benchmark-skip", "--collect-only"),
    ],
)
def test_options_that_are_for_ab_to_set_are_refused(bench, capsys, option):
    text = refused(bench, capsys, "--", "--precision", "single", option)
    assert f"{option} after --:" in text
    assert "Leave it out" in text


@pytest.mark.parametrize(
    "option", ["--benchmark-sort=name", "--no-header", "--benchmark-only", "-x", "--runs=10"]
)
def test_other_options_are_passed_on(option):
    assert planning._refused_option(option) is None


@pytest.mark.parametrize(
    ("text", "looks"), [("6,12,24", (6, 12, 24)), ("5", (5,)), ("3,6", (3, 6)), (" 3, 9", (3, 9))]
)
def test_looks_are_read(text, looks):
    assert planning.parse_looks(text) == looks


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a comma list of whole numbers"),
        ("6,x", "not a comma list of whole numbers"),
        ("6,,12", "not a comma list of whole numbers"),
        ("6.5", "not a comma list of whole numbers"),
        ("12,6", "does not increase"),
        ("6,6", "does not increase"),
        ("2,6", "starts with 2 pairs"),
        ("-6", "starts with -6 pairs"),
        # 2**-4 is above 0.05, and 2**-5 above 0.05 / 2: no flip of signs is rare enough.
        ("4", "fewer than 5 can never show a slowdown"),
        ("3,5", "fewer than 6 can never show a slowdown"),
    ],
)
def test_looks_that_make_no_sense_are_refused(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        planning.parse_looks(text)
    assert "such as 6,12,24" in str(caught.value)


@pytest.mark.parametrize(
    "limits", [{"tolerance": -0.1}, {"tolerance": 0.2, "margin": 0.1}, {"margin": float("nan")}]
)
def test_limits_that_make_no_sense_are_refused(limits):
    with pytest.raises(planning.AbError, match="--tolerance, --margin"):
        planning.make_plan(**limits)


# Processes.


def plan(folder: Path) -> planning.Plan:
    side = planning.Side("python", str(folder))
    return planning.Plan({"A": side, "B": side}, (5,), 0.03, 0.1, ())


def children() -> Children:
    return Children(sys.stderr.fileno())


def run_child(stopper: Children, code: str, output, **settings) -> int:
    return stopper.run(
        [sys.executable, "-S", "-c", code], cwd=".", env=dict(os.environ), output=output, **settings
    )


@pytest.mark.parametrize(
    ("code", "status"),
    [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", -9), ("pass", 0)],
)
def test_status_of_a_child_is_returned(tmp_path, code, status):
    with children() as stopper, (tmp_path / "log").open("wb") as log:
        assert run_child(stopper, code, log) == status


def test_child_cannot_read_from_the_terminal_and_all_its_output_is_kept(tmp_path):
    code = "import sys; print(repr(sys.stdin.read())); print('oops', file=sys.stderr)"
    with children() as stopper, (tmp_path / "log").open("wb") as log:
        run_child(stopper, code, log)
    assert set((tmp_path / "log").read_text().split()) == {"''", "oops"}


def test_child_that_takes_too_long_is_ended(tmp_path, monkeypatch):
    started = []

    def popen(*arguments, **settings):
        started.append(original(*arguments, **settings))
        return started[-1]

    original = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", popen)
    with (
        children() as stopper,
        (tmp_path / "log").open("wb") as log,
        pytest.raises(subprocess.TimeoutExpired),
    ):
        run_child(stopper, "import time; time.sleep(1000)", log, seconds=0.01)
    (child,) = started
    assert child.returncode is not None


def test_program_that_cannot_be_run_is_said(tmp_path):
    (tmp_path / "python").write_bytes(b"\0")
    (tmp_path / "python").chmod(0o755)
    with children() as stopper, (tmp_path / "log").open("wb") as log:
        status = stopper.run([str(tmp_path / "python")], cwd=".", env={}, output=log)
    assert status == 1
    assert "python cannot be run: Exec format error" in (tmp_path / "log").read_text()


def test_signal_between_two_children_is_not_lost(tmp_path):
    with children() as stopper, (tmp_path / "log").open("wb") as log:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(InterruptError):
            run_child(stopper, "print('started')", log)
    assert (tmp_path / "log").read_bytes() == b""


def test_handlers_of_signals_are_put_back():
    before = [signal.getsignal(number) for number in Children._SIGNALS]
    with children():
        assert signal.getsignal(signal.SIGINT) not in before
    assert [signal.getsignal(number) for number in Children._SIGNALS] == before


def test_nohup_is_heeded():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with children():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_child_that_ignores_signals_is_killed_with_all_that_it_started(
    real, capsys, monkeypatch, number
):
    monkeypatch.setattr("cnnprec.ab.processes._GRACE_SECONDS", 0.05)
    real.tell(A={"at": {"0001-A": "stubborn"}, "signal": number})
    assert real.run() == 130
    assert not list((real.out / "sessions").iterdir())
    ((child, helper),) = real.noted("running")
    wait_until(lambda: not alive(child) and not alive(helper))
    assert "0 complete sessions kept" in text_of(capsys)


def test_interrupted_command_leaves_no_process_loses_nothing_and_goes_on(real, bench):
    real.tell(B={"at": {"0002-B": "hang"}})
    command = real.start()
    wait_until(lambda: real.noted("running"))
    kept = real.files()
    kept.pop("0002-B.json.partial")
    assert sorted(kept) == ["0001-A.json", "0001-B.json"]
    command.send_signal(signal.SIGINT)
    _, errors = command.communicate()
    assert command.returncode == 130
    assert "2 complete sessions kept" in errors
    assert "Traceback" not in errors
    assert "goes on from there" in errors
    ((child, helper),) = real.noted("running")
    wait_until(lambda: not alive(child) and not alive(helper))
    assert real.files() == kept
    real.tell()
    assert bench.run() == 0  # the same bench, now without processes of its own
    assert real.measured()[:3] == ["0001-A", "0001-B", "0002-B"]
    assert real.measured()[3:] == [str(job) for job in planning.schedule(5)[2:]]
    assert {name: real.files()[name] for name in kept} == kept


def test_killed_command_leaves_no_process_and_loses_nothing(real, bench):
    real.tell(A={"at": {"0002-A": "hang"}})
    command = real.start()
    wait_until(lambda: real.noted("running"))
    command.kill()
    command.communicate()
    ((child, helper),) = real.noted("running")
    wait_until(lambda: not alive(child))
    # What the child itself had started is beyond the kernel's promise, but it keeps the folder
    # locked as long as it lives, so that no second measurement runs beside it.
    with contextlib.suppress(ProcessLookupError):
        os.kill(helper, signal.SIGKILL)
    wait_until(lambda: not alive(helper))
    kept = {name: content for name, content in real.files().items() if name.endswith(".json")}
    assert sorted(kept) == ["0001-A.json", "0001-B.json", "0002-B.json"]
    real.tell()
    assert bench.run() == 0
    assert real.measured()[4:] == [str(job) for job in planning.schedule(5)[3:]]
    assert {name: real.files()[name] for name in kept} == kept
    assert not list((real.out / "sessions").glob("*.partial"))
