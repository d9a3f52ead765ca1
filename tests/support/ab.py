"""Stand-ins for the interpreters of a paired comparison.

A stand-in plays ``-m pytest``: it notes how it was called and writes a session whose times
follow from the seed and the side. Where only figures and verdicts matter it is called inside
this process, which takes a thousandth of the time; where processes matter it is a real one.
"""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

from cnnprec.ab import run as running
from cnnprec.cli.main import main
from cnnprec.precision.precisions import PRECISIONS
from cnnprec.records.record import DataInfo, Outcome, Record, Round, TrainingRun
from cnnprec.workload.profiles import TrainingConfig
from tests.support import records

STAND_IN = """
import json, math, os, random, signal, subprocess, sys, time
from pathlib import Path

HERE = Path(__file__).parent


def main(side, words, cwd, environment, say):
    note("calls", {"side": side, "words": words, "cwd": cwd, "path": environment["PYTHONPATH"]})
    told = json.loads((HERE / "told.json").read_text())[side]
    assert words[2] == "benchmarks/test_training.py"
    if words[0] == "-c":
        if not told.get("starts", True):
            say("ModuleNotFoundError: no module named cnnprec")
            return 1
        say("cnnprec-ab-probe " + told.get("package", cwd) + "/cnnprec/__init__.py")
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


def text_of(capsys) -> str:
    """All that was printed, as one line."""
    return " ".join(" ".join(capsys.readouterr()).split())


def refused(bench, capsys, *more, **settings) -> str:
    assert bench.run(*more, **settings) == 4
    assert not bench.measured()
    assert not (bench.out / "plan.txt").exists()
    return text_of(capsys)
