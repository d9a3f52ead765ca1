"""Whatever reading accepts goes through choosing, judging and reporting; else file and field."""

import copy
import dataclasses
import json
import random

import pytest

from cnnprec.records.read_sessions import SavedSession, read_session, read_sessions
from cnnprec.reports.baseline import describe_baseline
from cnnprec.reports.results import results
from cnnprec.reports.verdict_json import judgements
from cnnprec.reports.verdicts import verdicts, verdicts_markdown
from cnnprec.verdicts.judge_saved import judge_saved
from cnnprec.verdicts.limits import LimitTable
from tests.support import hostile, sessions

MUTANTS = 2_000
RECORD = ("benchmarks", 0, "extra_info", "cnnprec")


def shown(baseline: list[SavedSession], new: SavedSession) -> list[str]:
    """All that is printed of a session and of its verdicts."""
    selection, comparison = judge_saved(baseline, new)
    json.dumps(judgements(comparison), allow_nan=False)
    return [
        *results(new.records.values()),
        *describe_baseline(selection, (), LimitTable()),
        *verdicts(comparison),
        *verdicts_markdown(comparison),
    ]


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> list[tuple[dict, list[SavedSession]]]:
    """Files of a session on a CPU and of one on a GPU, each with five sessions like it."""
    found = []
    for file in (sessions.changed(), hostile.plain(hostile.on_gpu())):
        folder = tmp_path_factory.mktemp("base")
        for number in range(5):
            other = copy.deepcopy(file)
            other["datetime"] = f"2026-01-0{number + 1}T00:00:00+00:00"
            for benchmark in other["benchmarks"]:
                for entry in benchmark["extra_info"]["cnnprec"]["rounds"]:
                    entry["seconds"] *= 1 + number / 1000
            sessions.put(folder / f"{number:04}_base.json", other)
        found.append((file, list(read_sessions(folder)[0])))
    assert [len(good) for _, good in found] == [5, 5]
    return found


def test_mutants_are_refused_by_name_or_go_through_all(bases, tmp_path):
    dice = random.Random(12)  # noqa: S311
    path = tmp_path / "0009_mutant.json"
    accepted, reasons = 0, []
    for number in range(MUTANTS):
        file, good = dice.choice(bases)
        place, changed = hostile.mutant(file, dice)
        sessions.put(path, changed)
        try:
            mutant = read_session(path)
        except ValueError as error:
            reasons.append(str(error))
            continue
        accepted += 1
        try:  # as the new session and as one of the baseline, by turns
            lines = shown(good, mutant) if number % 2 else shown([*good, mutant], good[0])
        except Exception as error:
            raise AssertionError(f"mutant {number} at {place}: {error!r}") from error
        assert all(line.isprintable() for line in lines), (number, place)
    assert accepted > MUTANTS / 5
    assert len(reasons) > MUTANTS / 5
    assert all(str(path) in reason and reason.isprintable() for reason in reasons)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (("rounds", 0, "peak_memory_bytes"), 0),
        (("rounds", 1, "seconds"), 1e300),
        (("rounds", 1, "cpu_seconds"), 5e-324),
        (("environment", "usable_cores"), 10**30),
        (("config", "epochs"), 10**30),
        (("rounds", 0, "run", "seed"), 10**400),
        (("precision", "name"), "verdict: PASS"),
    ],
)
def test_value_that_nothing_has_is_refused_by_file_and_field(tmp_path, field, value):
    file = sessions.changed()
    owner = file
    for key in (*RECORD, *field[:-1]):
        owner = owner[key]
    owner[field[-1]] = value
    path = sessions.put(tmp_path / "0001_x.json", file)
    with pytest.raises(ValueError, match=r"0001_x\.json: test_training\[single\]: ") as caught:
        read_session(path)
    assert str(field[-1]) in str(caught.value)


def test_precision_that_only_the_file_knows_is_reported(bases, tmp_path):
    file = copy.deepcopy(bases[0][0])
    file["benchmarks"][0]["extra_info"]["cnnprec"]["precision"]["name"] = "quadruple"
    session = read_session(sessions.put(tmp_path / "0001_x.json", file))
    assert any(line.startswith("quadruple ") for line in shown(bases[0][1], session))
    assert "quadruple" in "".join(shown([session], bases[0][1][0]))


@pytest.mark.parametrize("kind", [0, 1])
def test_session_that_lacks_a_precision_is_judged_and_judged_by(bases, kind):
    good = bases[kind][1]
    half = dataclasses.replace(good[2], records={"half": good[2].records["half"]}, digest="")
    assert any("not measured now: single" in line for line in shown(good, half))
    assert shown([half, *good[1:]], good[0])


def test_session_that_was_not_measured_to_its_end_is_no_baseline(bases, tmp_path):
    file, good = bases[0]
    short = copy.deepcopy(file)
    short["benchmarks"][1]["extra_info"]["cnnprec"]["rounds"].pop()
    mutant = read_session(sessions.put(tmp_path / "0009_short.json", short))
    selection = judge_saved([*good, mutant], good[0])[0]
    assert mutant not in selection.sessions
    assert [session for session, _ in selection.unfit] == [mutant]
    assert len(judge_saved(good, good[0])[0].sessions) == 5
