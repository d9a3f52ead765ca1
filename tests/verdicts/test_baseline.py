"""Choosing the saved sessions to compare with."""

import dataclasses
from datetime import timedelta
from pathlib import Path

import pytest

from cnnprec.records.read_sessions import SavedSession, read_session
from cnnprec.records.record import Record
from cnnprec.verdicts import baseline
from cnnprec.verdicts.baseline import select
from cnnprec.verdicts.case import ENOUGH
from cnnprec.verdicts.comparability import Part
from tests.support.sessions import NEWEST, START

RECORDS = read_session(NEWEST).records


def records(precisions=("single", "half"), **environment) -> dict[str, Record]:
    return {
        name: dataclasses.replace(
            RECORDS[name],
            environment=dataclasses.replace(RECORDS[name].environment, **environment),
        )
        for name in precisions
    }


def saved(minute: float, *, failed=False, verdict=None, **fields) -> SavedSession:
    """A session of that minute; ``fields`` as for `records`."""
    return SavedSession(
        path=Path(f"{minute}.json"),
        name="x",
        saved_at=START + timedelta(minutes=minute),
        records=records(**fields),
        failed=failed,
        verdict=verdict,
    )


def many(first: float, count: int, **fields) -> list[SavedSession]:
    return [saved(first + minute, **fields) for minute in range(count)]


NOW = records(code="now")


def test_nothing_saved_selects_nothing():
    assert select([], NOW) == baseline.Selection((), (), (), ())


def test_comparable_sessions_are_selected_oldest_first():
    sessions = many(0, 3, code="now")
    selection = select(reversed(sessions), NOW)
    assert selection == baseline.Selection(tuple(sessions), (), (), ())


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"failed": True}, "test of the session failed"), ({"verdict": "FAIL"}, "verdict FAIL")],
)
def test_sessions_that_failed_or_were_worse_are_never_selected(fields, reason):
    unfit = saved(9, code="now", **fields)
    selection = select([unfit, saved(1)], NOW)
    assert [session.saved_at.minute for session in selection.sessions] == [1]
    assert [session for session, _ in selection.unfit] == [unfit]
    assert reason in selection.unfit[0][1]
    assert select([unfit], NOW).sessions == ()


@pytest.mark.parametrize(("digests", "count"), [("aab", 2), ("abc", 3), (("", "", ""), 3)])
def test_copies_count_once_and_are_named(digests, count):
    sessions = [
        dataclasses.replace(saved(minute), digest=digest) for minute, digest in enumerate(digests)
    ]
    selection = select(sessions, NOW)
    assert len(selection.sessions) == count
    assert [(s.path.name, reason.partition(":")[0]) for s, reason in selection.unfit] == (
        [("1.json", "copy of 0.json")] if count == 2 else []
    )


@pytest.mark.parametrize("verdict", [None, "PASS", "INCONCLUSIVE", "NO_BASELINE"])
def test_sessions_of_any_other_verdict_are_selected(verdict):
    session = saved(0, verdict=verdict)
    assert select([session], NOW).sessions == (session,)


def test_another_machine_is_refused_with_every_reason_once():
    session = saved(0, cpu_model="other", usable_cores=64)
    selection = select([session], NOW)
    assert selection.sessions == selection.changed == ()
    ((refused, reasons),) = selection.refused
    assert refused is session
    assert [str(reason) for reason in reasons] == [
        "cpu_model: other -> AMD EPYC family 25 model 1",
        "usable_cores: 64 -> 2",
    ]


def test_a_session_refused_in_one_precision_is_refused():
    session = saved(0)
    half = session.records["half"]
    other = dataclasses.replace(
        half, precision=dataclasses.replace(half.precision, optimizer_overrides=(("b", 1.0),))
    )
    session = dataclasses.replace(session, records={**session.records, "half": other})
    selection = select([session], NOW)
    assert [reason.name for reason in selection.refused[0][1]] == ["optimizer_overrides"]
    assert select([session], records(("single",))).sessions == (session,)


def test_sessions_without_a_common_precision_are_refused_by_name():
    selection = select([saved(0, precisions=("single",))], records(("half",)))
    ((_, (reason,)),) = selection.refused
    assert reason.part is Part.WORKLOAD
    assert str(reason) == "precisions: single -> half"
    assert str(select([saved(0)], {}).refused[0][1][0]) == "precisions: single, half -> none"


def test_a_session_with_fewer_precisions_is_selected_as_it_is():
    sessions = [saved(0), saved(1, precisions=("half",))]
    selection = select(sessions, NOW)
    assert [list(session.records) for session in selection.sessions] == [
        ["single", "half"],
        ["half"],
    ]


def test_changed_lists_each_difference_of_the_stack_once():
    sessions = [saved(0, code="a"), saved(1, code="b"), saved(2, code="b")]
    changed = select(sessions, records(code="now", tensorflow="9")).changed
    assert [str(difference) for difference in changed] == [
        "tensorflow: 2.21.0 -> 9",
        "code: a (commit 4f3d7c6f556d) -> now (commit 4f3d7c6f556d)",
        "code: b (commit 4f3d7c6f556d) -> now (commit 4f3d7c6f556d)",
    ]


def minutes(selection) -> list[int]:
    return [int((session.saved_at - START).total_seconds() // 60) for session in selection.sessions]


def test_several_commits_pool():
    sessions = [saved(minute, code=f"code{minute}") for minute in range(4)]
    assert minutes(select(sessions, NOW)) == [0, 1, 2, 3]


def test_several_stacks_do_not_pool():
    sessions = [saved(minute, tensorflow=f"2.{minute % 2}") for minute in range(4)]
    assert minutes(select(sessions, NOW)) == [1, 3]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (ENOUGH, ENOUGH, "new"),
        (ENOUGH, ENOUGH - 1, "old"),
        (ENOUGH - 1, ENOUGH - 1, "new"),
        (ENOUGH - 1, ENOUGH, "new"),
        (2 * ENOUGH, 1, "old"),
        (1, 1, "new"),
    ],
)
@pytest.mark.parametrize("current", ["old", "new", "third"])
def test_newest_stack_with_enough_sessions_is_selected_else_the_newest(old, new, expected, current):
    sessions = many(0, old, keras="old") + many(100, new, keras="new")
    selection = select(sessions, records(keras=current))
    assert {session.records["half"].environment.keras for session in selection.sessions} == {
        expected
    }
    assert len(selection.sessions) == {"old": old, "new": new}[expected]


def test_unfit_and_refused_sessions_do_not_make_a_stack_large():
    sessions = (
        many(0, ENOUGH, keras="old")
        + many(100, ENOUGH - 1, keras="new")
        + [saved(200, keras="new", failed=True), saved(201, keras="new", cpu_model="other")]
    )
    selection = select(sessions, NOW)
    assert minutes(selection) == list(range(ENOUGH))
    assert (len(selection.unfit), len(selection.refused)) == (1, 1)


def test_age_of_a_stack_is_that_of_its_latest_session():
    sessions = [saved(0, keras="a"), saved(1, keras="b"), saved(2, keras="a")]
    assert minutes(select(sessions, NOW)) == [0, 2]


def test_vary_prefers_sessions_from_before_the_change():
    sessions = many(0, 2, keras="old") + many(100, ENOUGH, keras="new")
    now = records(keras="new")
    assert minutes(select(sessions, now, frozenset({"keras"}))) == [0, 1]
    assert minutes(select(sessions, now)) == list(range(100, 100 + ENOUGH))


def test_vary_among_stacks_before_the_change_takes_the_newest_with_enough():
    sessions = (
        many(0, ENOUGH, keras="1") + many(100, ENOUGH, keras="2") + many(200, ENOUGH, keras="3")
    )
    selection = select(sessions, records(keras="3"), frozenset({"keras"}))
    assert minutes(selection) == list(range(100, 100 + ENOUGH))


def test_vary_falls_back_to_the_stack_of_now():
    selection = select(many(0, 2), records(), frozenset({"keras"}))
    assert minutes(selection) == [0, 1]
    assert selection.changed == ()


def test_vary_refuses_sessions_that_differ_in_anything_else():
    sessions = [saved(0, keras="old"), saved(1, keras="old", numpy="old"), saved(2, code="old")]
    selection = select(sessions, records(), frozenset({"keras"}))
    assert minutes(selection) == [0]
    assert [[reason.name for reason in reasons] for _, reasons in selection.refused] == [
        ["numpy"],
        ["code"],
    ]


def test_vary_of_the_code_does_not_pool_sessions_that_have_the_change_already():
    sessions = [saved(0, code="a"), saved(1, code="b"), *many(100, ENOUGH, code="now")]
    assert minutes(select(sessions, NOW, frozenset({"code"}))) == [0, 1]
    assert len(select(sessions, NOW).sessions) == 2 + ENOUGH
    assert len(select(sessions[2:], NOW, frozenset({"code"})).sessions) == ENOUGH


def test_selecting_compares_each_record_at_most_twice(monkeypatch):
    compared = []
    real = baseline.differences
    monkeypatch.setattr(
        baseline, "differences", lambda old, new: compared.append(old) or real(old, new)
    )
    sessions = [saved(minute) for minute in range(50)]
    select(sessions, sessions[0].records)
    # Once to refuse, and once to list what changed, for two precisions.
    assert len(compared) == 50 * 2 * 2


def choosing(session: SavedSession, *with_xla: str) -> SavedSession:
    """The session as ``--jit best`` had measured it, with XLA for these precisions."""
    return dataclasses.replace(session, records=chosen(session.records, *with_xla))


def chosen(records: dict[str, Record], *with_xla: str) -> dict[str, Record]:
    return {
        name: dataclasses.replace(
            record, config=record.config.override(jit="best"), jit_compiled=name in with_xla
        )
        for name, record in records.items()
    }


def test_sessions_that_chose_otherwise_by_jit_best_are_refused_with_the_remedy():
    same, other = choosing(saved(0), "half"), choosing(saved(1))
    selection = select([same, other], chosen(NOW, "half"))
    assert selection.sessions == (same,)
    ((refused, (difference,)),) = selection.refused
    assert refused == other
    assert str(difference) == (
        "jit_compiled: off, chosen by --jit best (--jit off leaves no choice) -> "
        "on, chosen by --jit best (--jit on leaves no choice)"
    )


def test_before_measuring_the_newest_sessions_that_chose_alike_are_selected():
    blank = {n: dataclasses.replace(r, rounds=()) for n, r in chosen(NOW).items()}
    with_xla = [choosing(session, "half") for session in many(0, ENOUGH)]
    without = [choosing(session) for session in many(ENOUGH, ENOUGH)]
    assert select([*with_xla, *without], blank).sessions == tuple(without)
    assert select([*with_xla, *without[1:]], blank).sessions == tuple(with_xla)


def test_what_keras_itself_chose_is_not_compared():
    session = saved(0)
    compiled = {n: dataclasses.replace(r, jit_compiled=True) for n, r in NOW.items()}
    assert select([session], compiled).sessions == (session,)
