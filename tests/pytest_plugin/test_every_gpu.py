"""``--device all`` and ``all-at-once``: two GPUs of a stand-in for NVML, a process for each."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cnnprec.cli.main import main
from tests.support.project import REPOSITORY

# Two GPUs of one model, whatever this machine has, and a stand-in for pytest where there is one.
GPUS = """
import sys
from pathlib import Path

from cnnprec.machine import gpu
from cnnprec.pytest_plugin import every_gpu
from tests.support.nvml import FakeNvml

gpu.pynvml = FakeNvml(driver_loaded={loaded}, unsupported={unsupported})
gpu.pynvml.answers["nvmlDeviceGetName"] = lambda handle: "NVIDIA H200"
child = Path(__file__).with_name("child.py")
if child.exists():
    every_gpu.PYTEST = (sys.executable, "-S", str(child))
"""
CHILD = """
import json, os, signal, sys, time
from pathlib import Path

words = sys.argv[1:]
device = [word for word in words if word.startswith("--device=")][-1].partition("=")[2]
does = json.loads(Path("plan.json").read_text()).get(device, 0)


def note(what):
    with open("notes.jsonl", "a") as notes:
        notes.write(json.dumps([device, what]) + "\\n")


note(words)
print("measuring on", device, flush=True)
if does == "meet":
    Path(device).touch()
    until = time.monotonic() + 60
    while not (Path("gpu:0").exists() and Path("gpu:1").exists()):
        if time.monotonic() > until:
            sys.exit(7)
        time.sleep(0.01)
    does = 0
if does == "hang":
    Path(device + ".pid").write_text(str(os.getpid()))
    time.sleep(1000)
if does == "lost":  # as TensorFlow ends where the GPU falls off the bus
    os.abort()
for word in words:
    if word.startswith("--benchmark-json="):
        Path(word.partition("=")[2]).write_text("saved on " + device)
note("end")
sys.exit(does)
"""
MODES = ["all", "all-at-once"]


@pytest.fixture
def host(pytester, monkeypatch, usual_signals):
    """A folder in which ``pytest --device`` finds two GPUs."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)
    return Host(pytester)


class Host:
    def __init__(self, pytester) -> None:
        self.pytester, self.path = pytester, pytester.path
        self.gpus()
        (self.path / "child.py").write_text(CHILD)
        self.plan()

    def gpus(self, loaded=True, unsupported=()) -> None:
        (self.path / "fake_gpus.py").write_text(GPUS.format(loaded=loaded, unsupported=unsupported))

    def plan(self, **by_place) -> None:
        """What each child does, such as ``gpu1="hang"`` or ``gpu0=5``, its exit code."""
        named = {f"gpu:{name[-1]}": does for name, does in by_place.items()}
        (self.path / "plan.json").write_text(json.dumps(named))

    def command(self, *words: str) -> list[str]:
        plugins = ("-p", "cnnprec.pytest_plugin", "-p", "fake_gpus")
        return [sys.executable, "-m", "pytest", *plugins, *words]

    def run(self, *words: str):
        return self.pytester.run(*self.command(*words))

    def notes(self) -> list[tuple[str, object]]:
        path = self.path / "notes.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [tuple(json.loads(line)) for line in lines]

    def words(self) -> dict[str, list[str]]:
        """What each child was started with."""
        return {device: what for device, what in self.notes() if what != "end"}


@pytest.mark.parametrize("mode", MODES)
def test_every_gpu_gets_a_process_and_outputs_of_its_own(host, mode):
    folder = host.path / "base"
    given = ["benchmarks/", "--device", mode, "--level=1", f"--benchmark-storage=file://{folder}"]
    outputs = ["--benchmark-json=./node.json", "--junit-xml=out/node.xml", "--report=page"]
    result = host.run(*given, *outputs)
    assert result.ret == 0
    assert set(host.words()) == {"gpu:0", "gpu:1"}
    for place in (0, 1):
        assert host.words()[f"gpu:{place}"][4:] == [
            *(*given, *outputs),
            f"--device=gpu:{place}",
            f"--benchmark-storage=file://{folder}-gpu{place}",
            f"--benchmark-json=node-gpu{place}.json",
            f"--junit-xml=out/node-gpu{place}.xml",
            f"--report=page-gpu{place}",
        ]
    text = result.stdout.str()
    assert text.index("measuring on gpu:0") < text.index("measuring on gpu:1")
    assert "gpu:0, NVIDIA H200, GPU-aaaa: exit code 0\n" in text
    assert "gpu:1, NVIDIA H200, GPU-bbbb: exit code 0" in text


def test_saved_sessions_of_each_gpu_have_a_folder_of_their_own(host):
    host.run("--device=all", "--benchmark-save=before")
    for place in (0, 1):
        storage = f"baselines/gpu-NVIDIA-H200-x1-gpu{place}"
        assert any(word.endswith(storage) for word in host.words()[f"gpu:{place}"])


def test_options_stay_before_the_files(host):
    assert host.run("--device", "all", "--", "test_it.py").ret == 0
    assert host.words()["gpu:1"][-2:] == ["--", "test_it.py"]
    assert "--device=gpu:1" in host.words()["gpu:1"]


def test_in_turn_one_ends_before_the_next_begins(host):
    assert host.run("--device=all").ret == 0
    assert [(device, what == "end") for device, what in host.notes()] == [
        *(("gpu:0", False), ("gpu:0", True), ("gpu:1", False), ("gpu:1", True))
    ]


def test_at_once_they_run_side_by_side(host):
    host.plan(gpu0="meet", gpu1="meet")  # each waits for the other
    assert host.run("--device=all-at-once").ret == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("codes", "worst"), [((0, 5), 5), ((1, 4), 1), ((4, 0), 4), ((6, 1), 1)])
def test_exit_code_is_1_where_one_failed_and_else_the_largest(host, mode, codes, worst):
    host.plan(gpu0=codes[0], gpu1=codes[1])
    result = host.run("--device", mode)
    assert result.ret == worst
    assert f"GPU-bbbb: exit code {codes[1]}" in result.stdout.str()


@pytest.mark.parametrize("mode", MODES)
def test_gpu_that_falls_away_is_one_failure_and_the_session_of_the_other_is_kept(host, mode):
    host.plan(gpu0="lost")
    result = host.run("--device", mode, "--benchmark-json=node.json")
    assert result.ret == 128 + signal.SIGABRT
    assert "gpu:0, NVIDIA H200, GPU-aaaa: signal 6 (Aborted)" in result.stdout.str()
    assert "gpu:1, NVIDIA H200, GPU-bbbb: exit code 0" in result.stdout.str()
    assert (host.path / "node-gpu1.json").read_text() == "saved on gpu:1"
    assert not (host.path / "node-gpu0.json").exists()


def wait_for(path: Path) -> None:
    # Ends as soon as it can; the limit only keeps a broken test from hanging for ever.
    for _ in range(6_000):
        if path.exists() and path.read_text():
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} never came")


@pytest.mark.parametrize(("mode", "hanging"), [("all", [1]), ("all-at-once", [0, 1])])
def test_ctrl_c_stops_all_and_keeps_what_is_saved(host, mode, hanging):
    host.plan(**{f"gpu{place}": "hang" for place in hanging})
    command = host.command("--device", mode, "--benchmark-json=node.json")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    files = [host.path / f"gpu:{place}.pid" for place in hanging]
    for file in files:
        wait_for(file)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert "interrupted; sessions that were saved are kept" in out
    assert "measuring on gpu:1" in out
    for file in files:
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.read_text()), 0)
    assert (host.path / "node-gpu0.json").exists() is (0 not in hanging)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "nvml", [{"loaded": False}, {"unsupported": ("nvmlDeviceGetHandleByIndex",)}]
)
def test_without_gpus_it_is_refused_at_once_and_without_tensorflow(host, mode, nvml):
    host.gpus(**nvml)
    words = host.command("--device", mode)[3:]
    code = (
        "import sys, pytest; code = pytest.main(sys.argv[1:]);"
        "print('tensorflow' in sys.modules); sys.exit(code)"
    )
    result = host.pytester.run(sys.executable, "-c", code, *words)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.stdout.lines[-1] == "False"
    text = result.stdout.str() + result.stderr.str()
    assert f"ERROR: --device {mode}: NVML tells of no GPU. Check the driver with nvidia-smi" in text
    assert "Traceback" not in text
    assert host.notes() == []


def test_gpu_beyond_the_last_is_refused_before_tensorflow(host):
    result = host.run("--device=gpu:9")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--device gpu:9: the driver knows 2 GPUs, from gpu:0 on" in result.stderr.str()


def test_help_is_shown_once(host):
    result = host.run("--device=all", "--help")
    assert result.ret == 0
    assert "all-at-once: side by side" in " ".join(result.stdout.str().split())
    assert host.notes() == []


# Sessions that compute on the CPU and take themselves for those of a GPU.
ON_CPU = """
def pytest_collection():
    from cnnprec.training import strategy

    strategy.select_device = lambda name: name
"""
BENCHMARK = """
import pytest


@pytest.mark.precision_benchmark
def test_training(precision, measure):
    measure(precision)
"""


def test_whole_sessions_are_told_apart_by_the_gpus_uuid_in_a_fleet(host, capsys):
    (host.path / "child.py").unlink()
    with (host.path / "fake_gpus.py").open("a") as plugin:
        plugin.write(ON_CPU)
    (host.path / "test_it.py").write_text(BENCHMARK)
    result = host.run(
        *("--device=all", "--precision=single", "--dataset=synthetic", "--train-samples=64"),
        *("--epochs=1", "--runs=2", "--turns=0", "--numerics=off", "-p", "no:cacheprovider"),
        "--benchmark-json=fleet/node1/session.json",
    )
    assert result.ret == 0, result.stdout.str() + result.stderr.str()
    capsys.readouterr()
    assert main(["fleet", str(host.path / "fleet")]) == 0
    rows = capsys.readouterr().out.splitlines()[1:3]
    assert [row.split()[:5] for row in rows] == [
        ["node1", "GPU-aaaa", "1", "other", "host"],
        ["node1", "GPU-bbbb", "1", "other", "host"],
    ]
