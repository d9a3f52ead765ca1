"""No benchmark passes without having been measured, whatever happens in the first of them."""

import json
import re

import pytest

from cnnprec.measurement.calibrators import CALIBRATORS
from cnnprec.records.read_sessions import read_session

SMALL = [
    *("--dataset=synthetic", "--train-samples=64", "--epochs=1", "--runs=2", "--device=cpu"),
    *("--turns=0", "--numerics=off"),
]
FILE = """
import time

import pytest

from cnnprec.records.record import Record

from cnnprec.training.trainer import Trainer

fit = Trainer.fit


@pytest.fixture(autouse=True, scope="session")
def planted():
    def planted_fit(trainer, on_progress=None):
        if trainer.precision.name == {precision!r} and trainer._seed == {seed}:
            {what}
        fit(trainer, on_progress)

    Trainer.fit = planted_fit
    yield
    Trainer.fit = fit


@pytest.mark.precision_benchmark
def test_training(precision, measure):
    measure(precision)
"""


def session(pytester, what, *options, precision="half", seed=12, process=False):
    """Runs three precisions, in one of whose trainings something happens."""
    pytester.makepyfile(test_it=FILE.format(what=what, precision=precision, seed=seed))
    arguments = ["-p", "cnnprec.pytest_plugin", "-p", "no:cacheprovider", *SMALL, "-rA"]
    arguments += ["--precision=single,half,double", "--order-seed=1", "--benchmark-json=out.json"]
    run = pytester.runpytest_subprocess if process else pytester.runpytest_inprocess
    return run(*arguments, *options)


def results_of(result) -> dict[str, str]:
    """Passed, failed or error, by precision."""
    found = re.findall(r"^(PASSED|FAILED|ERROR|SKIPPED) .*\[(\w+)\]", result.stdout.str(), re.M)
    return {name: how for how, name in found}


@pytest.fixture(autouse=True)
def _own_process(monkeypatch):
    # These sessions are no workers of pytest-xdist, though this test may run in one.
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)


def test_users_own_file_of_three_lines_is_measured(pytester):
    result = session(pytester, "pass")
    result.assert_outcomes(passed=3)
    assert "RESULTS" in result.stdout.str()


@pytest.mark.parametrize(
    "what", ["raise SystemExit(3)", "raise GeneratorExit", "pytest.fail('planted')"]
)
@pytest.mark.parametrize("precision", ["single", "half", "double"])
def test_what_is_no_exception_reaches_its_item_and_no_other_passes(pytester, what, precision):
    result = session(pytester, what, precision=precision)
    found = results_of(result)
    assert set(found.values()) == {"FAILED"}, result.stdout.str()
    assert set(found) == {"single", "half", "double"}
    text = result.stdout.str()
    assert text.count("runs were measured, then the session ended") >= 2
    assert f"while {precision} was trained" in text


def test_skip_inside_a_training_is_a_failure(pytester):
    found = results_of(session(pytester, "pytest.skip('planted')"))
    assert set(found.values()) == {"FAILED"}
    assert set(found) == {"single", "half", "double"}


def test_precisions_that_were_measured_whole_before_the_end_still_pass(pytester):
    # In this order the last run of the session is that of the last item.
    order = results_of(session(pytester, "pass"))
    last = list(order)[-1]
    found = results_of(session(pytester, "raise SystemExit(3)", precision=last, seed=13))
    assert found.pop(last) == "FAILED"
    assert set(found.values()) == {"PASSED"}


def test_timeout_by_signal_in_the_first_benchmark_lets_no_other_pass(pytester):
    pytest.importorskip("pytest_timeout")
    result = session(
        pytester, "time.sleep(60)", "--timeout=6", "--timeout-method=signal", process=True
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    found = results_of(result)
    assert set(found) == {"single", "half", "double"}
    # On a slow machine the time is over before the training begins, which is an ERROR.
    assert set(found.values()) <= {"FAILED", "ERROR"}, result.stdout.str()
    assert "Timeout" in result.stdout.str()


def test_timeout_by_thread_in_the_first_benchmark_ends_the_session(pytester):
    pytest.importorskip("pytest_timeout")
    result = session(
        pytester, "time.sleep(60)", "--timeout=6", "--timeout-method=thread", process=True
    )
    assert result.ret != 0
    assert "Timeout" in result.stdout.str() + result.stderr.str()
    assert "passed" not in result.stdout.str()
    assert not (pytester.path / "out.json").exists() or not (
        (pytester.path / "out.json").read_text().strip()
    )


def test_test_that_reads_more_times_than_the_turns_took_is_an_error(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.precision_benchmark
        def test_training(precision, measure, benchmark):
            benchmark.pedantic(lambda: None, rounds=1)
        """
    )
    result = pytester.runpytest_inprocess(
        "-p", "cnnprec.pytest_plugin", "-p", "no:cacheprovider", *SMALL, "--precision=single"
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*asked for more times than the turns took*"])


def test_test_that_measures_without_the_mark_is_an_error_that_names_it(pytester):
    pytester.makepyfile(
        """
        def test_training(measure):
            pass
        """
    )
    result = pytester.runpytest_inprocess(
        "-p", "cnnprec.pytest_plugin", "-p", "no:cacheprovider", *SMALL, "--precision=single"
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*mark it with @pytest.mark.precision_benchmark*"])


def test_fixtures_of_other_names_are_no_benchmarks(pytester):
    """A fixture called measure or comparison that is not ours makes no test a benchmark."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def measure():
            return 3

        @pytest.fixture
        def comparison():
            return 4

        def test_mine(measure, comparison):
            assert measure + comparison == 7
        """
    )
    result = pytester.runpytest_inprocess("-p", "cnnprec.pytest_plugin", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    assert "RESULTS" not in result.stdout.str()


def test_rounds_of_pytest_benchmark_are_the_timed_turns(pytester):
    result = session(pytester, "pass", "--turns=10")
    result.assert_outcomes(passed=3)
    path = pytester.path / "out.json"
    benches, records = json.loads(path.read_text())["benchmarks"], read_session(path).records
    assert len(benches) == len(records) == 3
    for bench in benches:
        record = records[bench["param"]]
        assert list(record.turns.seconds) == [round(value, 9) for value in bench["stats"]["data"]]
        assert len(record.turns.seconds) == record.config.turns == 10
        assert [name for name, _ in record.turns.calibrators] == [row.name for row in CALIBRATORS]
        assert len(record.rounds) == 2
    assert "ms/step is from the fastest third of 10 timed turns" in result.stdout.str()


@pytest.mark.parametrize("turns", ["-1", "1", "9"])
def test_too_few_turns_are_refused_before_measuring(pytester, turns):
    result = session(pytester, "pass", f"--turns={turns}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"--turns {turns}: must be 0 (compare whole runs) or at least 10" in (
        result.stderr.str() + result.stdout.str()
    )
