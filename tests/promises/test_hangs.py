"""Nothing waits for ever: only regular files are opened, and a hung step ends the session."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from cnnprec.cli.main import main
from cnnprec.files import open_regular, read_regular
from cnnprec.measurement import watchdog
from cnnprec.records.read_sessions import read_sessions
from cnnprec.workload.fashion_mnist import read_fashion_mnist
from tests.support.ab import Bench, text_of
from tests.support.fashion_mnist import TRAIN_IMAGES, SmallSet
from tests.support.sessions import TEXT, put


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.symlink_to(path)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as end, tempfile.TemporaryDirectory() as short:
        end.bind(f"{short}/s")  # the name of a socket may have 107 bytes
        Path(short, "s").rename(path)


KINDS = [fifo, device, Path.mkdir, loop, listening]


@pytest.mark.parametrize("kind", KINDS)
def test_only_regular_files_are_opened(tmp_path, kind):
    kind(tmp_path / "0001_x.json")
    put(tmp_path / "0002_y.json", TEXT)
    sessions, (skipped,) = read_sessions(tmp_path)
    assert [session.path.name for session in sessions] == ["0002_y.json"]
    assert skipped.path.name == "0001_x.json"
    assert "cannot be read: " in skipped.reason
    with pytest.raises(OSError, match=r"0001_x\.json"):
        open_regular(tmp_path / "0001_x.json")


def test_file_beyond_all_reason_is_not_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with pytest.raises(OSError, match="larger than"):
        read_regular(path, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_plan_that_is_no_file_is_refused(bench, capsys, kind):
    bench.out.mkdir()
    kind(bench.out / "plan.txt")
    assert bench.run() == 4
    text = text_of(capsys)
    assert "plan.txt: cannot be read" in text
    assert "Traceback" not in text
    assert not bench.noted("calls")


@pytest.mark.parametrize("kind", [fifo, device])
def test_image_file_that_is_no_file_is_refused(tmp_path, monkeypatch, kind):
    small = SmallSet()
    small.install(monkeypatch)
    small.write(tmp_path)
    read_fashion_mnist(tmp_path, 10, 10)
    (tmp_path / TRAIN_IMAGES).unlink()
    kind(tmp_path / TRAIN_IMAGES)
    with pytest.raises(ValueError, match="it is no regular file"):
        read_fashion_mnist(tmp_path, 10, 10)


@pytest.fixture
def quick(monkeypatch):
    """A watchdog that waits hundredths of a second, and what it said."""
    monkeypatch.setattr(watchdog, "_LEAST_SECONDS", 0.1)
    monkeypatch.setattr(watchdog, "_TICK_SECONDS", 0.02)
    said, heard = [], threading.Event()

    def on_hang(text: str) -> None:
        said.append(text)
        heard.set()

    return watchdog.Watchdog(on_hang), said, heard


def test_block_that_takes_too_long_is_noticed(quick):
    dog, said, heard = quick
    with dog, dog.over("a turn", [0.001, 0.002]):
        assert heard.wait(20)
    assert said[0].startswith("a turn has not ended within")


def test_first_block_of_its_kind_has_a_limit_of_its_own(quick, monkeypatch):
    assert watchdog._FIRST_SECONDS == 1800  # as docs/promises.md says
    dog, said, heard = quick
    monkeypatch.setattr(watchdog, "_FIRST_SECONDS", 0.5)
    with dog:
        with dog.over("a warm-up"):
            assert not heard.wait(0.2)
        with dog.over("a turn", []):
            assert heard.wait(20)
    assert said[0].startswith("a turn has not ended within")
    assert "usual" not in said[0]


@pytest.mark.parametrize("usual", [None, [30.0]])
def test_block_without_a_usual_time_or_within_it_is_left_alone(quick, usual):
    dog, said, _ = quick
    with dog, dog.over("a turn", usual):
        time.sleep(0.4)
    assert not said


def test_many_short_blocks_are_left_alone(quick):
    dog, said, _ = quick
    with dog:
        for _ in range(8):
            with dog.over("a turn", [0.001]):
                time.sleep(0.05)
    assert not said


def test_debugger_has_all_the_time(quick, monkeypatch):
    dog, said, _ = quick
    monkeypatch.setattr(watchdog, "_DEBUGGERS", {__name__})
    with dog, dog.over("a turn", [0.001]):
        time.sleep(0.4)
    assert not said


HUNG = """
import time

import pytest

from cnnprec.measurement import watchdog
from cnnprec.training.trainer import Trainer

watchdog._LEAST_SECONDS = 1.0
watchdog._FACTOR = 1
fit = Trainer.fit


def hung_kernel(trainer, on_progress=None):
    if trainer._seed == 13:
        time.sleep(1000)
    fit(trainer, on_progress)


Trainer.fit = hung_kernel


@pytest.mark.precision_benchmark
def test_training(precision, measure):
    measure(precision)
"""


def test_hung_step_ends_by_its_own_code_and_keeps_what_was_measured(pytester, capsys):
    pytester.makepyfile(test_it=HUNG)
    result = pytester.runpytest_subprocess(
        *("-p", "cnnprec.pytest_plugin", "-p", "no:cacheprovider", "--dataset=synthetic"),
        *("--train-samples=64", "--epochs=1", "--runs=2", "--turns=0", "--device=cpu"),
        *("--precision=single", "--benchmark-save=x", "--benchmark-storage=file://kept"),
        timeout=120,
    )
    text = result.stdout.str()
    assert result.ret == 6, text + result.stderr.str()
    assert "single: only 1 of 2 runs were finished" in text
    assert "HUNG: a run of single has not ended" in text
    assert "in hung_kernel" in result.stderr.str()
    (kept,) = (pytester.path / "kept").iterdir()
    assert f"cnnprec report {kept}" in text
    assert main(["report", str(kept)]) == 0
    assert "only 1 of 2 runs" in capsys.readouterr().out
    assert read_sessions(pytester.path / "kept") == ((), ())


def test_hung_session_of_ab_is_ended_and_the_rest_is_kept(real: Bench):
    real.tell(B={"at": {"0001-B": "hang"}})
    process = real.start("--session-timeout=3s")
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 5, output + errors
    assert "pair 1, B, was ended after --session-timeout 3 s" in errors
    assert set(real.files()) == {"0001-A.json"}
    for pid in real.noted("running")[0]:
        assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("value", ["0", "nan", "soon", "1e9"])
def test_bad_session_timeout_is_refused(bench, capsys, value):
    with pytest.raises(SystemExit):
        bench.run(f"--session-timeout={value}")
    assert "is not a time above 0" in text_of(capsys)


def test_grandchild_in_a_session_of_its_own_does_not_survive(tmp_path, usual_signals):
    code = (
        "import subprocess, sys, time\n"
        "p = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
        "print(p.pid, flush=True)\n"
        "time.sleep(float(sys.argv[1]))\n"
    )
    driver = (
        "import sys, subprocess\n"
        "from cnnprec.ab.processes import Children\n"
        "with open('lock', 'w') as lock, open('log', 'wb') as log:\n"
        "    with Children(lock.fileno()) as children:\n"
        "        other = subprocess.Popen(['sleep', '1000'])\n"
        "        try:\n"
        "            children.run([sys.executable, '-c', sys.argv[1], sys.argv[2]],\n"
        "                         '.', log, seconds=2)\n"
        "        except subprocess.TimeoutExpired:\n"
        "            print('timeout')\n"
        "        print('other', other.poll())\n"
        "        other.kill()\n"
    )
    for sleep, outcome in (("0", ""), ("1000", "timeout\n")):
        done = subprocess.run(
            [sys.executable, "-c", driver, code, sleep],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": str(Path(main.__code__.co_filename).parents[2])},
        )
        assert done.stdout == f"{outcome}other None\n", done.stderr
        pid = int((tmp_path / "log").read_text().split()[0])
        with pytest.raises(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
