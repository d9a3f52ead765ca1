"""The planted slowdown that ``cnnprec ab`` is shown to find: that it is planted, and how large."""

import importlib.util
import shutil
import subprocess
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from cnnprec.precision.precisions import get_precision
from cnnprec.training import model

_FILE = Path(__file__).parents[1] / "docs" / "evidence" / "slow_checkout.py"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"planted_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def slow_checkout(tmp_path, monkeypatch):
    """The script, for a repository that holds this version of `cnnprec.training.model`."""
    repository = tmp_path / "repository"
    (repository / "cnnprec" / "training").mkdir(parents=True)
    shutil.copy(model.__file__, repository / "cnnprec" / "training")
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *command], cwd=repository, check=True)
    script = load(_FILE)
    monkeypatch.setattr(script, "_REPOSITORY", repository)
    return script


def test_every_step_waits_for_the_share_of_the_step_before(slow_checkout, tmp_path):
    assert slow_checkout.main(["30%", str(tmp_path / "slow")]) == 0
    planted = tmp_path / "slow" / "cnnprec" / "training" / "model.py"
    assert planted.read_text().count("tf.numpy_function(_wait") == 1
    module = load(planted)
    now = [100.0]

    def tick() -> float:
        now[0] += 0.001
        return now[0]

    module.time = SimpleNamespace(perf_counter=tick)
    module._last[0] = now[0]
    now[0] += 0.2  # the step itself
    start = now[0]
    assert module._wait(np.ones(3)) == 3
    # 30 % of the step, to within the ticks of the clock: one in reading the step's end, one in
    # which the wait ends, one in noting it.
    assert now[0] - start == pytest.approx(0.3 * 0.2, abs=0.004)


def test_planted_wait_lies_in_every_step_of_a_training(slow_checkout, tmp_path, tiny, tiny_data):
    assert slow_checkout.main(["0%", str(tmp_path / "control")]) == 0
    module = load(tmp_path / "control" / "cnnprec" / "training" / "model.py")
    waits = []
    module._wait = lambda outputs: waits.append(outputs.shape) or outputs.sum()
    network = module.build_model(get_precision("mixed_half"), jit="off")
    network.fit(tiny_data.train_images, tiny_data.train_labels, batch_size=16, verbose=0)
    assert waits == [(16, 10)] * (tiny.train_samples // 16)
    # Outside training nothing waits.
    network.evaluate(tiny_data.test_images, tiny_data.test_labels, verbose=0)
    assert len(waits) == tiny.train_samples // 16


def test_folder_that_exists_and_wrong_arguments_are_refused(slow_checkout, tmp_path, capsys):
    assert slow_checkout.main(["30%", str(tmp_path)]) == 4
    assert f"{tmp_path} exists; name a new folder" in capsys.readouterr().err
    assert slow_checkout.main([]) == 4
    assert "slow_checkout.py 30% FOLDER" in capsys.readouterr().err


def test_code_that_it_does_not_know_is_refused(slow_checkout, tmp_path):
    path = slow_checkout._REPOSITORY / "cnnprec" / "training" / "model.py"
    path.write_text("# another\n")
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run([*git, "commit", "-qam", "x"], cwd=path.parents[1], check=True)
    with pytest.raises(SystemExit, match="is not as this script knows it"):
        slow_checkout.main(["30%", str(tmp_path / "slow")])
