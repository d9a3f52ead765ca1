"""The command ``cnnprec scaling``."""

import fcntl
import json
import signal
import subprocess
import sys

import pytest

from cnnprec.cli import scaling
from cnnprec.machine import memory
from cnnprec.measurement import supported
from tests.support.commands import run_command
from tests.support.studies import FakeProcesses

SMALL = ("--batches=32,128", "--widths=1,2", "--precision=single,mixed_half", "--turns=10")


@pytest.fixture
def fake(monkeypatch) -> FakeProcesses:
    found = FakeProcesses()
    monkeypatch.setattr(scaling.subprocess, "run", found.run)
    return found


@pytest.fixture
def run(capsys, tmp_path):
    def run(*words):
        return run_command(capsys, "scaling", "--out", tmp_path / "s.json", *words)

    return run


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line]


def test_table_has_a_row_for_each_point_and_the_crossovers(run, fake):
    code, out, err = run(*SMALL)
    assert code == 0
    head, *found = rows(out)
    assert head[:5] == ["precision", "width", "batch", "us/image", "/single"]
    places = [
        (name, *place)
        for place in ((1, 32), (1, 128), (2, 32), (2, 128))
        for name in ("single", "mixed_half")
    ]
    assert [tuple(row[:3]) for row in found[:8]] == [(n, str(w), str(b)) for n, w, b in places]
    # 1 ms and 32 us of 32 images; of the fastest third of the turns, which is 1 % to 2 % less.
    assert float(found[0][3]) == pytest.approx(1032 / 32, rel=0.02)
    assert found[0][-1] == "800"
    assert found[8] == ["faster", "than", "single", "from", "batch", "width", "1", "width", "2"]
    assert found[9:] == [["mixed_half", "32", "32"]]
    assert max(map(len, out.splitlines())) <= 80
    assert "1 of 4: width 1, batch 32" in err


def test_progress_tells_the_time_left_from_the_second_point_on(run, fake):
    _, _, err = run(*SMALL)
    lines = [line for line in err.splitlines() if " of 4: " in line]
    assert ["left" in line for line in lines] == [False, True, True, True]


@pytest.mark.parametrize(
    ("took", "due", "seconds"),
    [
        ([(10, 5.0)], [20, 30], 10.0),  # nothing tells how it grows
        ([(10, 5.0), (10, 7.0)], [20], 6.0),
        ([(10, 5.0), (20, 7.0)], [30, 110], 9.0 + 25.0),  # 3 s and 0.2 s for each
        ([(10, 5.0), (20, 4.0)], [110], 0.0),
    ],
)
def test_time_left_is_on_the_line_through_what_was_measured(took, due, seconds):
    assert scaling._left(took, due) == pytest.approx(seconds)


def test_interrupted_study_keeps_what_it_has_and_goes_on_from_there(run, fake, tmp_path):
    fake.ends[(2, 32)] = "interrupt"
    code, out, err = run(*SMALL)
    assert (code, out) == (130, "")
    assert "interrupted" in err
    assert len(json.loads((tmp_path / "s.json").read_text())["points"]) == 4
    fake.ends.clear()
    fake.asked.clear()
    code, out, err = run(*SMALL)
    assert code == 0
    assert [place[:2] for place in fake.asked] == [(2, 32), (2, 128)]
    assert "3 of 4: width 2, batch 32" in err
    assert len(rows(out)) == 1 + 8 + 2


def test_finished_study_measures_nothing_and_shows_the_same(run, fake):
    first = run(*SMALL)
    fake.asked.clear()
    assert run(*SMALL)[:2] == first[:2]
    assert fake.asked == []


def test_more_batches_and_widths_go_into_the_same_file(run, fake):
    run(*SMALL)
    fake.asked.clear()
    assert run(*SMALL, "--batches=32,64")[0] == 0
    assert [place[:2] for place in fake.asked] == [(1, 64), (2, 64)]


def test_process_killed_for_memory_is_a_row_and_the_others_are_kept(run, fake):
    fake.ends[(2, 32)] = -signal.SIGKILL
    code, out, _ = run(*SMALL)
    assert code == 0
    found = {tuple(row[:3]): row[3:] for row in rows(out)[1:9]}
    assert found["mixed_half", "2", "32"] == ["does", "not", "fit", "-", "-", "-"]
    assert float(found["mixed_half", "2", "128"][0]) > 0
    assert "single at width 2, batch 32: the system killed the process" in out
    assert "mixed_half at width 2, batch 32: the system killed the process" in out
    assert rows(out)[-1] == ["mixed_half", "32", "128"]


def test_precision_too_large_for_the_memory_is_a_row_and_the_others_are_measured(
    run, fake, monkeypatch, tmp_path
):
    # A step of 128 images of width 2 takes 77 MB in float32 and 155 MB in float64.
    (tmp_path / "meminfo").write_text("MemAvailable: 100000 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_LIMITS", ())
    code, out, _ = run("--batches=128", "--widths=1,2", "--precision=single,double")
    assert code == 0
    assert fake.asked == [(1, 128, "single,double"), (2, 128, "single")]
    assert ["double", "2", "128", "does", "not", "fit", "-", "-", "-"] in rows(out)
    assert "double at width 2, batch 128: a training step takes about 0.2 GB of memory" in out


def test_failed_process_ends_the_study_with_its_last_lines(run, fake, tmp_path):
    fake.ends[(1, 128)] = 1
    code, out, err = run(*SMALL)
    assert (code, out) == (5, "")
    assert "width 1, batch 128: the measurement ended with exit code 1" in err
    assert "  | DeviceError: no such device" in err
    assert len(json.loads((tmp_path / "s.json").read_text())["points"]) == 2


def test_plot_is_written_at_every_point(run, fake, tmp_path):
    fake.ends[(2, 32)] = "interrupt"
    assert run(*SMALL, "--plot", tmp_path / "s.svg")[0] == 130
    assert "<svg" in (tmp_path / "s.svg").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--widths=0"], "'0': give whole numbers from 1 to 1000000, such as 32,128,512"),
        (["--widths=1,,2"], "'1,,2': give whole numbers"),
        (["--batches=0"], "'0': give whole numbers"),
        (["--batches=-3"], "'-3': give whole numbers"),
        (["--batches=2.5"], "'2.5': give whole numbers"),
        (["--batches=1000001"], "'1000001': give whole numbers"),
        (["--batches=1000000", "--widths=1000000"], "--batches 1000000: a training step takes"),
        (["--turns=9"], "--turns 9: must be at least 10"),
        (["--precision=half"], "--precision: add single, which the others are compared with"),
        (["--precision=single,hafl"], "Did you mean 'half'?"),
        (["--precision=single,tf32"], "--precision tf32: this device cannot compute in it"),
        (["--device=tpu"], "unknown device 'tpu'"),
        (["--device=gpu:3"], "--device gpu:3: the driver knows 0 GPUs"),
        (["--out=no/such/s.json"], "No such file or directory: 'no/such/s.json.lock'"),
        (["--plot=x.mp3"], "x.mp3: end its name in .svg"),
        (["--plot=no/such/x.svg"], "No such file or directory: 'no/such/"),
    ],
)
def test_bad_input_is_refused_before_anything_is_measured(change, message, run, fake, monkeypatch):
    monkeypatch.setattr(supported, "query_gpus", lambda: ())
    monkeypatch.setattr(supported, "_GPU_FILES", ())
    code, out, err = run(*SMALL, *change)
    assert (code, out, fake.asked) == (4, "", [])
    assert message in err


def test_file_cannot_be_a_folder(run, fake, tmp_path):
    (tmp_path / "s.json").mkdir()
    code, _, err = run(*SMALL)
    assert (code, fake.asked) == (4, [])
    assert "Is a directory" in err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--turns=20"], "s.json: was measured with turns 10, now 20. Choose another file."),
        (["--precision=single,half"], "precisions single,mixed_half, now single,half"),
        (["--device=cpu"], "device auto, now cpu"),
    ],
)
def test_study_of_other_work_is_refused_and_left_alone(change, message, run, fake, tmp_path):
    run(*SMALL)
    before = (tmp_path / "s.json").read_bytes()
    fake.asked.clear()
    code, _, err = run(*SMALL, *change)
    assert (code, fake.asked) == (4, [])
    assert message in err
    assert (tmp_path / "s.json").read_bytes() == before


def test_study_of_another_machine_or_code_is_refused(run, fake, monkeypatch):
    run(*SMALL)
    monkeypatch.setattr(scaling, "machine_id", lambda device: "cpu-Other-x2")
    monkeypatch.setattr(scaling, "code_digest", lambda: "abc")
    code, _, err = run(*SMALL)
    assert code == 4
    assert "now cpu-Other-x2; code " in err


def test_second_command_on_the_same_file_is_refused(run, fake, tmp_path):
    with (tmp_path / "s.json.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, _, err = run(*SMALL)
    assert (code, fake.asked) == (4, [])
    assert "another one is at work on" in err
    assert run(*SMALL)[0] == 0


def test_nothing_is_loaded_to_refuse():
    code = (
        "import sys; from cnnprec.cli.main import main; "
        "status = main(['scaling', '--out=no/such', '--batches=32']); "
        "print(status, {'tensorflow', 'keras'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "4 set()\n"


def test_one_small_point_is_measured_in_a_process_of_its_own(run, tmp_path):
    small = ("--batches=4", "--widths=1", "--precision=single,bfloat16", "--turns=10")
    code, out, _ = run(*small, "--device=cpu")
    assert code == 0
    assert [row[0] for row in rows(out)[1:3]] == ["single", "bfloat16"]
    points = json.loads((tmp_path / "s.json").read_text())["points"]
    assert [len(point["step_seconds"]) for point in points] == [10, 10]
    assert all(point["peak_memory_bytes"] > 10**8 for point in points)
