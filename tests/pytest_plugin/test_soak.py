"""``--soak`` in whole pytest sessions."""

import itertools
import re
import shutil

import pytest

from cnnprec.training.trainer import Trainer
from tests.support.project import REPOSITORY

SOAK = ("--precision=single,half", "--soak=1s")


@pytest.fixture
def soaking(project):
    """A project that has the soak too."""
    shutil.copy(REPOSITORY / "benchmarks" / "test_soak.py", project.path / "benchmarks")
    return project


def after_each_step(monkeypatch, change) -> None:
    """Calls ``change(trainer, number)`` after each step that a soak takes."""
    take, count = Trainer.take, itertools.count()

    def changed(trainer, steps):
        take(trainer, steps)
        change(trainer, next(count))

    monkeypatch.setattr(Trainer, "take", changed)


def test_without_the_option_nothing_is_soaked(soaking):
    result = soaking.run("--precision=single")
    assert result.ret == 0
    assert "test_soak" not in result.stdout.str()
    assert "SOAK" not in result.stdout.str()


def test_steps_and_differences_are_shown_below_results(soaking):
    result = soaking.run(*SOAK)
    assert result.ret == 0
    result.assert_outcomes(passed=4)
    below = result.stdout.str().partition("= RESULTS =")[2].partition("= SOAK =")[2]
    rows = re.findall(r"^(\w+): (\d+) steps? compared in \d+ s, 0 differences$", below, re.M)
    assert [name for name, _ in rows] == ["single", "half"]
    assert all(int(steps) >= 2 for _, steps in rows)


def test_flipped_bit_fails_the_session_and_is_named(soaking, monkeypatch):
    def flip(trainer, number):
        if number >= 5:  # two steps a pass
            (kernel,) = (v for v in trainer.model.trainable_variables if "conv2/kernel" in v.path)
            value = kernel.numpy().copy()
            value.view("u4")[1, 2, 3, 4] ^= 1 << 22
            kernel.assign(value)

    after_each_step(monkeypatch, flip)
    result = soaking.run("--precision=single", "--soak=1h")  # ten differences end it
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1, failed=1)
    text = result.stdout.str()
    assert "single, pass 3, step 1: conv2 kernel, element (1, 2, 3, 4): " in text
    assert "(flipped bits: 22); 1 of its 18432 elements differ, 1 of" in text
    assert re.search(r"^single: \d+ steps compared in \d+ s, 10 differences$", text, re.M)
    assert re.search(r"^FAIL: single: \d+ steps compared in \d+ s, 10 differences$", text, re.M)


def test_ctrl_c_says_how_many_steps_were_compared(soaking, monkeypatch):
    def stop(trainer, number):
        if number == 4:
            raise KeyboardInterrupt

    after_each_step(monkeypatch, stop)
    result = soaking.pytester.runpytest_inprocess(
        *("benchmarks", "-p", "no:cacheprovider", "--dataset=synthetic", "--train-samples=64"),
        *("--epochs=1", "--runs=3", "--device=cpu", "--turns=0", "--numerics=off"),
        *("--precision=single", "--soak=1h"),
        no_reraise_ctrlc=True,
    )
    text = result.stdout.str()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert re.search(r"^single: 2 steps compared in \d+ s, 0 differences$", text, re.M)
    assert "Interrupted: nothing was saved" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--soak=0"], "'0' is not a time above 0: give one such as 90s, 30min or 2h"),
        (["--soak=0h"], "'0h' is not a time above 0"),
        (["--soak=abc"], "'abc' is not a time above 0"),
        (["--soak=-1h"], "'-1h' is not a time above 0"),
        (["--soak=1h", "--benchmark-only"], "--benchmark-only would skip what --soak asks for"),
        (["--level=4"], "argument --level: invalid choice: '4'"),
        (["--soak=1h", "-k", "test_training"], "--soak: its tests are not selected"),
    ],
)
def test_bad_options_are_refused_before_measuring(soaking, arguments, message):
    assert message in soaking.refused(*arguments)
