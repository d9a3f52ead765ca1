"""The plugin, tested by running real pytest sessions on the real benchmarks."""

import dataclasses
import gc
import gzip
import json
import re
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cnnprec.machine.gpu import Gpu, query_gpus
from cnnprec.measurement import choose_jit, supported
from cnnprec.precision.precisions import PRECISIONS
from cnnprec.pytest_plugin import benchmarks
from cnnprec.records.read_sessions import read_session
from cnnprec.records.record import Outcome
from cnnprec.training.trainer import Trainer
from tests.support.records import record as make_record
from tests.support.terminal import TerminalSession

REPOSITORY = Path(__file__).parents[2]
# A training of a second: 2 steps a run on the generated images.
SMALL = [
    *("--dataset=synthetic", "--train-samples=64", "--epochs=1", "--runs=2", "--device=cpu"),
    *("--turns=0", "--numerics=off"),
]
# What a usage error must never have reached.
NO_TRAINING = re.compile(r"RESULTS|test_training\.py [.FE]")


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch) -> pytest.Pytester:
    """A project with this repository's benchmarks and plugin."""
    shutil.copytree(REPOSITORY / "benchmarks", pytester.path / "benchmarks")
    shutil.rmtree(pytester.path / "benchmarks" / "baselines", ignore_errors=True)
    pytester.makeini("[pytest]\naddopts = -m 'not harness'\nmarkers = harness\n")
    pytester.makeconftest('pytest_plugins = ["cnnprec.pytest_plugin"]')
    monkeypatch.delenv("CNNPREC_DATA_DIR", raising=False)
    # These sessions are no workers of pytest-xdist, though this test may run in one.
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)
    # The sessions run inside this process, where TensorFlow is loaded already.
    return pytester


def run(project: pytest.Pytester, *arguments: str):
    return project.runpytest_inprocess("benchmarks", "-p", "no:cacheprovider", *arguments)


def usage_error(project: pytest.Pytester, *arguments: str) -> str:
    """Runs a session that has to be refused before any training, and returns its output."""
    result = run(project, *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stdout.str() + result.stderr.str()
    assert not NO_TRAINING.search(text)
    assert "Traceback" not in text
    return " ".join(text.split())


def saved(project: pytest.Pytester, path: str = "out.json") -> dict:
    return json.loads((project.path / path).read_text())


def test_session_prints_results_and_keeps_the_whole_record(project):
    result = run(project, *SMALL, "--precision=half,single", "--benchmark-json=out.json")
    result.assert_outcomes(passed=2)
    result.stdout.re_match_lines(
        [
            r"cnnprec .*profile quick, 64 images x 1 epochs x 2 runs, batch 32, device cpu.*",
            r"precisions: half,single",
            r"dataset: the SYNTHETIC stand-in.*",
            r"cnnprec: data synthetic from generated, SHA-256 [0-9a-f]{12}; device .*TensorFlow.*",
            r"=+ RESULTS =+",
            r"data: +the SYNTHETIC stand-in.*",
            r"precision +outcome +s/run +ms/step.*accuracy.*",
            r"single +\S+ +[\d.]+ ± [\d.]+ .* 1\.00 .*",
            r"half +\S+ +[\d.]+ ± [\d.]+.*",
        ]
    )
    assert "run 1/2" not in result.stdout.str()  # progress is for terminals
    records = read_session(project.path / "out.json").records
    assert sorted(records) == ["half", "single"]
    for record in records.values():
        assert len(record.rounds) == record.config.runs == 2
        assert [entry.run.seed for entry in record.rounds] == [12, 13]
        assert record.warm_up_seconds > 0
        assert record.data.name == "synthetic"


def test_results_say_where_and_why_a_precision_broke(project):
    result = run(project, *SMALL, "--train-samples=160", "--precision=half,bfloat16")
    result.stdout.re_match_lines(
        [
            r"half diverged in 2 of 2 runs: .* step \d.* Why: Adam's second moment underflowed "
            r"in \d+% of the weights at step 0; the largest update was \d+ times Adam's bound; .*",
            r"bfloat16 froze in 2 of 2 runs: .* Why: \d+% of the weights have a gradient at step "
            r"0, and not one of them changed; beta_2=0\.999 is 1 in bfloat16, so every update "
            r"is zero\.",
        ]
    )


@pytest.fixture
def trainings(monkeypatch) -> list[tuple[str, int]]:
    """The trainings that were timed, in order: precision and seed. No garbage is collected."""
    done = []
    fit = Trainer.fit

    def noted(trainer, on_progress=None):
        assert not gc.isenabled()
        done.append((trainer.precision.name, trainer._seed))
        fit(trainer, on_progress)

    monkeypatch.setattr(Trainer, "fit", noted)
    return done


def test_precisions_take_turns_run_by_run(project, trainings):
    result = run(project, *SMALL, "--precision=single,half,double", "--order-seed=1")
    result.assert_outcomes(passed=3)
    names = [name for name, _ in trainings[:3]]
    assert sorted(names) == ["double", "half", "single"]
    assert trainings == [(name, seed) for seed in (12, 13) for name in names]


def test_only_the_selected_precisions_are_trained(project, trainings):
    run(project, *SMALL, "-k", "single", "--precision=single,half").assert_outcomes(passed=1)
    assert trainings == [("single", 12), ("single", 13)]


def test_seconds_are_those_of_pytest_benchmark(project, trainings):
    run(project, *SMALL, "--precision=single,half", "--benchmark-json=out.json")
    benches = saved(project)["benchmarks"]
    records = read_session(project.path / "out.json").records
    assert len(benches) == len(records) == 2
    for bench in benches:
        record = records[bench["param"]]
        assert [entry.seconds for entry in record.rounds] == bench["stats"]["data"]
        assert bench["group"] == "training"


@pytest.mark.parametrize(("step", "runs"), [("warm_up", 0), ("fit", 1)])
def test_precision_that_breaks_down_fails_by_itself_and_keeps_its_runs(
    project, monkeypatch, step, runs
):
    method = getattr(Trainer, step)

    def breaks(trainer, *arguments):
        if trainer.precision.name == "half" and (step == "warm_up" or trainer._seed == 13):
            raise RuntimeError("out of memory")
        return method(trainer, *arguments)

    monkeypatch.setattr(Trainer, step, breaks)
    result = run(project, *SMALL, "--precision=single,half", "--order-seed=1", "-rf")
    result.assert_outcomes(passed=1, failed=1)
    text = result.stdout.str()
    assert "RuntimeError: out of memory" in text
    assert re.search(r"FAILED .*test_training\[half\]", text)
    assert bool(re.search(r"half: only 1 of 2 runs were finished", text)) == bool(runs)
    assert not re.search(r"single: only", text)


def test_header_predicts_the_precisions_that_cannot_train(project):
    result = run(project, "--precision=single,half,bfloat16", "--collect-only", "-q", "-v")
    result.stdout.re_match_lines(
        [
            r"half: float16 holds Adam's epsilon=1e-07 as 1\.19e-07, .*; use at least 0\.0001.*",
            r"bfloat16: bfloat16 rounds Adam's beta_2=0\.999 to 1.*",
        ]
    )
    result.stdout.no_fnmatch_line("single: *")


def test_default_is_every_precision_of_the_device_and_no_tf32_without_a_gpu(project):
    result = run(project, "--device=cpu", "--collect-only", "-q")
    for name in PRECISIONS:
        line = f"*test_training[[]{name}[]]*"
        (result.stdout.no_fnmatch_line if name == "tf32" else result.stdout.fnmatch_lines)(
            line if name == "tf32" else [line]
        )


def test_tf32_is_chosen_where_nvml_reports_a_gpu_that_has_it(monkeypatch):
    gpu = Gpu("H200", None, (9, 0), *[None] * 4)
    monkeypatch.setattr(supported, "query_gpus", lambda: (gpu,))
    names = [p.name for p in supported.supported_precisions("auto")]
    assert names == list(PRECISIONS)
    assert "tf32" not in [p.name for p in supported.supported_precisions("cpu")]


@pytest.mark.parametrize(("others", "said"), [(2, True), (0, False), (None, False)])
def test_other_programs_on_the_gpu_are_said_before_anything_is_measured(monkeypatch, others, said):
    environment = dataclasses.replace(make_record().environment, device_kind="gpu")
    data = SimpleNamespace(name="synthetic", source="generated", digest="0" * 64)
    prepared = SimpleNamespace(environment=environment, dataset=data)
    suite = SimpleNamespace(prepared=prepared, device_choice="gpu:1")
    gpus = [Gpu("H200", None, (9, 0), *[None] * 4, other_processes=n) for n in (7, others)]
    monkeypatch.setattr(benchmarks, "query_gpus", lambda: tuple(gpus))
    config = SimpleNamespace(stash={benchmarks.SESSION: suite})
    text = "\n".join(benchmarks.pytest_report_collectionfinish(config))
    assert ("DISTURBED: 2 other programs on this GPU" in text) == said
    assert "7 other" not in text


def test_aliases_are_accepted_on_the_command_line(project):
    result = run(project, "--device=cpu", "--precision=fp32,bf16", "--collect-only", "-q")
    result.stdout.fnmatch_lines_random(
        ["*test_training[[]single[]]", "*test_training[[]bfloat16[]]"]
    )


def test_collecting_shows_the_benchmarks_without_loading_tensorflow(project):
    code = (
        "import sys, pytest;"
        "code = pytest.main(['benchmarks', '--collect-only', '-q', '-p', 'no:cacheprovider']);"
        "print('loaded', 'tensorflow' in sys.modules); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project.path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_training[single]" in done.stdout
    assert "loaded False" in done.stdout
    assert "RESULTS" not in done.stdout


def order_of(project, *arguments: str) -> list[str]:
    result = run(project, "--device=cpu", "--collect-only", "-q", *arguments)
    return re.findall(r"test_training\[(\w+)\]", result.stdout.str())


def test_order_follows_the_seed_and_the_seed_is_shown_and_recorded(project):
    assert order_of(project, "--order-seed=1") == order_of(project, "--order-seed=1")
    assert order_of(project, "--order-seed=1") != order_of(project, "--order-seed=2")
    assert sorted(order_of(project, "--order-seed=1")) == sorted(order_of(project))
    result = run(
        project, *SMALL, "--precision=single", "--order-seed=77", "--benchmark-json=out.json"
    )
    result.stdout.fnmatch_lines(["*order seed 77*"])
    assert saved(project)["cnnprec"]["order_seed"] == 77


def test_order_differs_from_session_to_session(project):
    # Eight benchmarks have 40,320 orders; five draws all alike are impossible in practice.
    assert len({tuple(order_of(project)) for _ in range(5)}) > 1


def test_disabled_benchmarks_train_once_and_time_nothing(project):
    result = run(project, *SMALL, "--precision=single", "--benchmark-disable")
    result.assert_outcomes(passed=1)
    result.stdout.re_match_lines([r"single +\S+ +- +- +- +- +- +\d+\.\d .*"])


def test_skipped_benchmarks_print_no_results(project):
    result = run(project, *SMALL, "--precision=single", "--benchmark-skip")
    result.assert_outcomes(skipped=1)
    result.stdout.no_fnmatch_line("*RESULTS*")


def test_profile_of_a_replay_is_refused(project):
    result = run(project, *SMALL, "--precision=single", "--benchmark-cprofile=cumtime")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --benchmark-cprofile: *python -m cProfile -m pytest*"])


def test_parallel_benchmarks_fail_at_once_instead_of_passing_untimed(project):
    result = project.runpytest_subprocess("benchmarks", "-p", "no:cacheprovider", *SMALL, "-n2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*Benchmarks need the machine for themselves*-n*"])


@pytest.fixture
def on_terminal(project, usual_signals):
    """Starts sessions on terminals, and ends those that a failed test left running."""
    sessions = []

    def start(*arguments: str) -> TerminalSession:
        sessions.append(TerminalSession(project.path, *arguments))
        return sessions[-1]

    yield start
    for session in sessions:
        session.end()


def test_progress_is_shown_on_a_terminal(on_terminal):
    session = on_terminal(*SMALL, "--precision=single,half", "--train-samples=960")
    assert session.read_to_end() == pytest.ExitCode.OK
    assert re.search(r"single: run [12]/2, epoch 1/1, loss \d\.\d+, \d+ s left", session.text)
    stages = ("loading TensorFlow and the images", "single: building the model", "single: run 1/2")
    places = [session.text.index(stage) for stage in stages]
    assert places == sorted(places)
    assert session.text.rindex("looking at its numbers") > places[-1]


# Bad input -------------------------------------------------------------------------------


def test_unknown_precision_is_refused_with_the_known_names(project):
    text = usage_error(project, "--precision=float8")
    assert "unknown precision 'float8'" in text
    assert "mixed_bfloat16" in text


def test_unknown_profile_is_refused_with_the_known_names(project):
    text = usage_error(project, "--profile=fast")
    assert "'fast'" in text
    assert "notebook" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch-size=0"], "--batch-size 0: must be at least 1"),
        (["--batch-size=641"], "--batch-size 641: larger than the 640 training images"),
        (["--epochs=0"], "--epochs 0: must be at least 1"),
        (["--runs=-1"], "--runs -1: must be at least 1"),
        (["--train-samples=0"], "--train-samples 0: must be at least 1"),
        (["--epochs=many"], "invalid int value: 'many'"),
        (["--device=cuda"], "unknown device 'cuda': choose auto, cpu, gpu, all, all-at-once or"),
        (["--jit=maybe"], "'maybe'"),
        (["--dataset=mnist"], "'mnist'"),
        (["--data-dir=nowhere"], "nowhere (from --data-dir) does not hold Fashion-MNIST"),
    ],
)
def test_bad_option_is_refused_by_name_and_value(project, arguments, message):
    assert message in usage_error(project, *arguments)


def test_gpu_that_is_not_there_is_refused(project):
    if query_gpus():
        pytest.skip("this machine has a GPU")
    text = usage_error(project, "--device=gpu", "--dataset=synthetic")
    assert "--device gpu: the driver knows 0 GPUs" in text
    assert "--device cpu" in text


def test_tf32_on_a_device_without_it_is_refused(project):
    text = usage_error(project, "--device=cpu", "--precision=tf32", "--dataset=synthetic")
    assert "--precision tf32: the device cpu has no TF32" in text


def test_more_images_than_there_are_is_refused(project):
    folder = Path("/usr/share/datasets/fashion-mnist")
    if not folder.is_dir():
        pytest.skip("needs the package dataset-fashion-mnist")
    text = usage_error(project, f"--data-dir={folder}", "--train-samples=60001")
    assert "60001" in text
    assert "60000" in text


def idx(*dimensions: int, content: bytes) -> bytes:
    header = struct.pack(f">4B{len(dimensions)}I", 0, 0, 8, len(dimensions), *dimensions)
    return gzip.compress(header + content)


IMAGES = idx(2, 28, 28, content=bytes(2 * 28 * 28))
LABELS = idx(2, content=bytes([0, 1]))


def write_data(project, **changed: bytes) -> str:
    folder = project.mkdir("data")
    for kind, content in {
        "train_images": IMAGES,
        "train_labels": LABELS,
        "t10k_images": IMAGES,
        "t10k_labels": LABELS,
        **changed,
    }.items():
        part, what = kind.split("_")
        rank = 3 if what == "images" else 1
        (folder / f"{part}-{what}-idx{rank}-ubyte.gz").write_bytes(content)
    return f"--data-dir={folder}"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train_images": IMAGES[:-20]}, "end-of-stream"),
        ({"train_images": idx(2, 28, 27, content=bytes(2 * 28 * 27))}, "altered content"),
        ({"train_labels": idx(2, content=bytes([0, 10]))}, "altered content"),
        ({"train_labels": idx(3, content=bytes(3))}, "altered content"),
        ({}, "altered"),
    ],
    ids=["truncated", "wrong shape", "wrong label", "too many labels", "altered"],
)
def test_damaged_data_are_refused_with_the_name_of_the_file(project, changed, message):
    text = usage_error(project, write_data(project, **changed))
    assert "ubyte.gz" in text
    assert message in text
    assert "--dataset synthetic" in text


def test_incomplete_data_folder_is_refused_with_the_missing_files(project):
    option = write_data(project)
    (project.path / "data" / "t10k-labels-idx1-ubyte.gz").unlink()
    assert "t10k-labels-idx1-ubyte.gz" in usage_error(project, option)


@pytest.mark.parametrize("option", ["--benchmark-save=x", "--benchmark-autosave"])
def test_folder_for_baselines_that_cannot_be_written_is_refused(project, option):
    (project.path / "file").write_text("not a folder")
    text = usage_error(project, *SMALL, option, f"--benchmark-storage=file://{project.path}/file/x")
    assert "the folder for baselines cannot be written" in text
    assert f"{project.path}/file/x" in text
    assert "--benchmark-storage" in text


def test_json_file_in_a_folder_that_cannot_be_written_is_refused(project):
    (project.path / "file").write_text("not a folder")
    text = usage_error(project, *SMALL, "--benchmark-json=file/out.json")
    assert "out.json" in text


def test_baselines_go_into_the_folder_of_this_machine(project):
    run(project, *SMALL, "--precision=single", "--benchmark-save=first")
    (file,) = (project.path / "benchmarks" / "baselines").rglob("*_first.json")
    machine = file.relative_to(project.path / "benchmarks" / "baselines").parts[0]
    assert machine.startswith("cpu-")
    assert not list(project.path.glob(".benchmarks/**/*.json"))


def test_a_comparison_keeps_what_jit_best_chose_for_the_baseline(project, monkeypatch):
    options = (*SMALL, "--precision=single", "--jit=best", "--benchmark-save=first")
    monkeypatch.setattr(choose_jit, "CLEARLY_FASTER", float("inf"))
    result = run(project, *options)
    result.stdout.fnmatch_lines(["*XLA as --jit best*", "*--jit best took XLA for: single.*"])
    monkeypatch.setattr(choose_jit, "CLEARLY_FASTER", 0.0)
    run(project, *options[:-1], "--benchmark-json=now.json", "--benchmark-compare")
    (saved_first,) = (project.path / "benchmarks" / "baselines").rglob("*_first.json")
    for path in (saved_first, project.path / "now.json"):
        (bench,) = json.loads(path.read_text())["benchmarks"]
        assert bench["extra_info"]["cnnprec"]["jit_compiled"] is True


def test_jit_both_shows_two_rows_of_each_precision(project):
    result = run(project, *SMALL, "--precision=single,double", "--jit=both")
    result.assert_outcomes(passed=4)
    result.stdout.re_match_lines(
        [f"{name} +trained.*" for name in ("double", "double_xla", "single", "single_xla")],
        consecutive=True,
    )


def test_storage_that_the_user_names_is_respected(project):
    run(
        project,
        *(*SMALL, "--precision=single", "--benchmark-save=x"),
        f"--benchmark-storage=file://{project.path}/elsewhere",
    )
    assert list((project.path / "elsewhere").rglob("*_x.json"))


# Interruption ----------------------------------------------------------------------------


def test_interrupted_session_shows_what_it_has_and_saves_nothing(project, on_terminal):
    session = on_terminal(
        *("--dataset=synthetic", "--device=cpu", "--precision=single,double"),
        *("--benchmark-save=torso", "--benchmark-json=torso.json"),
        *("--train-samples=320", "--epochs=1", "--runs=100000"),
    )
    session.read_until(r"run ([2-9]|\d\d+)/100000")
    session.process.send_signal(signal.SIGINT)
    assert session.read_to_end() == pytest.ExitCode.INTERRUPTED, session.text
    assert "KeyboardInterrupt" in session.text
    assert re.search(r"(single|double): only \d+ of 100000 runs were finished", session.text)
    assert "Interrupted: nothing was saved" in session.text
    assert not list(project.path.rglob("*torso*"))


def test_interruption_relies_on_attributes_that_pytest_benchmark_still_has(pytestconfig):
    session = pytestconfig._benchmarksession
    assert {"save", "autosave", "json"} <= set(vars(session))


def test_outcome_names_are_those_of_the_documents():
    assert [outcome.value for outcome in Outcome] == [
        *("trained", "diverged", "frozen", "not_learning")
    ]
