"""Comparing from Python: what can be compared is chosen, what cannot is refused."""

import dataclasses
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

import cnnprec
from cnnprec.records.read_sessions import SavedSession
from cnnprec.verdicts.verdict import Limits, Verdict
from tests.support.records import a_round, record


def saved(number: int, seconds: float, **change) -> SavedSession:
    times = [a_round(seconds, seed=12 + place) for place in range(2)]
    return SavedSession(
        path=Path(f"{number:04}_a.json"),
        name="a",
        saved_at=datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(days=number),
        records={"single": record(rounds=tuple(times), **change)},
        failed=False,
        verdict=None,
    )


NOISE = (0.99, 1.01, 1.0, 0.985, 1.015, 1.005)
BASELINE = [saved(number, seconds) for number, seconds in enumerate(NOISE)]


def test_equal_session_passes_and_a_slow_one_fails():
    assert cnnprec.compare(BASELINE, saved(9, 1.0).records).verdict is Verdict.PASS
    assert cnnprec.compare(BASELINE, saved(9, 2.0).records).verdict is Verdict.FAIL


def test_limits_are_those_given():
    wide = Limits(tolerance=1.5, margin=2.0)
    assert cnnprec.compare(BASELINE, saved(9, 2.0).records, limits=wide).verdict is Verdict.PASS


def test_sessions_that_cannot_be_compared_are_left_out():
    failed = dataclasses.replace(saved(7, 3.0), failed=True)
    other = saved(8, 3.0, companions=("half",))
    found = cnnprec.compare([*BASELINE, failed, other], saved(9, 1.0).records)
    assert found.verdict is Verdict.PASS
    assert found.basis == "6 saved sessions"


def test_nothing_to_compare_with_is_an_error_that_names_the_reasons():
    failed = dataclasses.replace(saved(7, 1.0), failed=True)
    other = saved(8, 1.0, companions=("half",))
    with pytest.raises(ValueError, match="a test of the session failed") as error:
        cnnprec.compare([failed, other], saved(9, 1.0).records)
    assert "0008_a.json: precisions: half, single -> single" in str(error.value)
    with pytest.raises(ValueError, match="there are none"):
        cnnprec.compare([], saved(9, 1.0).records)


def test_only_what_may_vary_varies():
    newer = dataclasses.replace(record().environment, tensorflow="2.22.0", driver="600.1")
    current = saved(9, 1.0, environment=newer).records
    assert [d.name for d in cnnprec.compare(BASELINE, current).changed] == ["driver", "tensorflow"]
    with pytest.raises(ValueError, match=r"driver: none -> 600\.1"):
        cnnprec.compare(BASELINE, current, vary=frozenset({"tensorflow"}))
