"""The recorded sessions, the page about them, and the rules of other tools that it rates."""

import copy
import dataclasses
import json
import math
import re
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from cnnprec.precision.precisions import PRECISIONS
from cnnprec.records.read_sessions import SavedSession
from cnnprec.records.record import Environment
from cnnprec.verdicts import case, judge_runs
from cnnprec.verdicts.verdict import DEFAULT_TOLERANCE, Verdict

_FOLDER = Path(__file__).parents[1] / "docs" / "evidence"
sys.path.insert(0, str(_FOLDER))

import recording  # noqa: E402
import rules  # noqa: E402
import tables  # noqa: E402
import trials  # noqa: E402


@pytest.fixture(scope="module")
def plain():
    return json.loads(recording.DATA.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def recorded(plain):
    return recording.rebuild(plain)


@pytest.fixture(scope="module", autouse=True)
def _read_once(recorded):
    """The trials read the same in the same records thousands of times: half of their time.
    A record cannot be changed, so what is read is kept.
    """
    ours = {id(record) for session in recorded.sessions for record in session.values()}

    def once(function):
        kept = {}

        def read(record, *arguments):
            if id(record) not in ours:  # it is one that a trial slowed
                return function(record, *arguments)
            key = (id(record), *arguments)
            if key not in kept:
                kept[key] = function(record, *arguments)
            return copy.copy(kept[key])

        return read

    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((case, "figure"), (judge_runs, "stack")):
            patch.setattr(module, name, once(getattr(module, name)))
        yield


@pytest.fixture(scope="module")
def page():
    return (_FOLDER / "README.md").read_text(encoding="utf-8")


def _saved(records, name="0001_aa.json"):
    return SavedSession(
        path=Path(name),
        name="aa",
        saved_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
        records=records,
        failed=False,
        verdict=None,
    )


def _as_saved(recorded):
    """The sessions of each stretch, as they are read from a folder."""
    return [
        [
            dataclasses.replace(_saved(records), saved_at=datetime.fromisoformat(time))
            for records, time in zip(sessions, times, strict=True)
        ]
        for sessions, times in zip(recorded.stretches, recorded.saved_at, strict=True)
    ]


def _strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


class TestTheFile:
    def test_it_holds_enough_sessions_in_the_order_of_time(self, recorded):
        assert all(len(stretch) >= recording.FEWEST == 16 for stretch in recorded.stretches)
        times = [time for stretch in recorded.saved_at for time in stretch]
        assert sorted(set(times)) == times

    def test_every_session_has_its_precisions_all_runs_and_all_turns(self, recorded):
        four = {"single", "double", "half", "mixed_half"}
        eight = {name for name, p in PRECISIONS.items() if not p.tensor_float_32}
        for stretch, names in zip(recorded.stretches, (four, four, four, eight), strict=True):
            assert all(set(session) == names for session in stretch)
        for session in recorded.sessions:
            for record in session.values():
                assert len(record.rounds) == record.config.runs == 3
                assert len(record.turns.seconds) == record.config.turns == 60

    def test_no_host_name_and_no_path_is_in_it(self, plain):
        # All text is below these keys, so there is no place for anything else.
        for stretch in plain:
            assert set(stretch) == {
                *("schema_version", "config", "data", "environment", "jit_compiled"),
                *("precisions", "runs", "columns", "sessions"),
            }
            known = {field.name for field in dataclasses.fields(Environment)}
            assert set(stretch["environment"]) <= known - {"host", "gpu_uuid"}
            assert {key for session in stretch["sessions"] for key in session} == {
                *("saved_at", "rounds", "turns", "calibrators", "warm_up"),
            }
        assert not [text for text in _strings(plain) if "/" in text or "\\" in text]

    def test_what_is_written_is_what_was_read(self, recorded):
        text = recording.render([recording.compact(stretch) for stretch in _as_saved(recorded)])
        assert text == recording.DATA.read_text(encoding="utf-8")
        assert len(text) <= 300_000  # small enough to be read in a review

    def test_collect_adds_a_stretch_and_refuses_an_older_one(self, recorded, tmp_path, monkeypatch):
        first = _as_saved(recorded)[0]
        later = [
            dataclasses.replace(session, saved_at=session.saved_at + timedelta(days=1))
            for session in first
        ]
        path = tmp_path / "sessions.json"
        for sessions, count in ((first, 1), (later, 2)):
            monkeypatch.setattr(recording, "read_sessions", lambda _, kept=sessions: (kept, []))
            assert recording.collect(tmp_path, path) == len(first)
            assert len(recording.read(path).stretches) == count
        with pytest.raises(ValueError, match="not newer than all of sessions"):
            recording.collect(tmp_path, path)
        assert len(recording.read(path).stretches) == 2

    def test_a_session_of_another_machine_is_refused(self, recorded):
        records = recorded.sessions[1]
        moved = {
            name: dataclasses.replace(
                record, environment=dataclasses.replace(record.environment, usable_cores=64)
            )
            for name, record in records.items()
        }
        with pytest.raises(ValueError, match=r"0002.*usable_cores: 2 -> 64"):
            recording.compact([_saved(recorded.sessions[0]), _saved(moved, "0002_aa.json")])

    def test_a_session_of_fewer_precisions_is_refused(self, recorded):
        fewer = {"single": recorded.sessions[1]["single"]}
        with pytest.raises(ValueError, match="measured single, the first"):
            recording.compact([_saved(recorded.sessions[0]), _saved(fewer)])

    def test_a_round_without_a_time_is_refused(self, recorded):
        record = recorded.sessions[1]["single"]
        untimed = dataclasses.replace(
            record, rounds=tuple(dataclasses.replace(r, seconds=None) for r in record.rounds)
        )
        broken = {**recorded.sessions[1], "single": untimed}
        with pytest.raises(ValueError, match="single: a round without a time"):
            recording.compact([_saved(recorded.sessions[0]), _saved(broken)])

    def test_a_session_without_turns_is_refused(self, recorded):
        bare = {n: dataclasses.replace(r, turns=None) for n, r in recorded.sessions[1].items()}
        with pytest.raises(ValueError, match="no timed turns"):
            recording.compact([_saved(recorded.sessions[0]), _saved(bare)])

    @pytest.mark.parametrize("count", [1, 15])
    def test_too_few_sessions_are_refused(self, recorded, count):
        with pytest.raises(ValueError, match=f"{count} of at least 16 sessions"):
            recording.compact([_saved(records) for records in recorded.sessions[:count]])

    @pytest.mark.parametrize(
        ("files", "message"),
        [({"0001_aa.json": "{}"}, r"0001_aa\.json: not the layout"), ({}, "whole sessions")],
    )
    def test_collect_refuses_a_folder_without_sessions(self, tmp_path, files, message):
        for name, text in files.items():
            (tmp_path / name).write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            recording.collect(tmp_path, tmp_path / "sessions.json")
        assert not (tmp_path / "sessions.json").exists()


def _block(page, name):
    (found,) = re.findall(f"<!-- {name}: begin -->\n(.+?)\n<!-- {name}: end -->", page, re.S)
    return found


def _rows(text):
    """The cells of a table by row, without its head."""
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines()[2:]]


def _expected(page):
    """The figures that the answer at the top of the page has to give, from its tables."""
    found = {name: _rows(_block(page, name)) for name in tables.TABLES}
    for _, m, alarms, bound, *_ in found["in-order"][:2]:
        hits, count = map(int, alarms.split(" of "))
        yield f"m = {m}: {alarms} = {hits / count * 100:.1f} %, 95 % upper bound {bound}"
    shares = [row[3] for row in found["drawn"][:2]]
    yield f"Drawn at random, {min(shares, key=_number)} to {max(shares, key=_number)} of the trials"
    late = [[float(cell.split()[-2]) for cell in row[2:]] for row in found["gaps"]]
    yield f"at most {max(map(max, late[::2]))} % with 10 or 30 sessions between"
    yield f"Without the calibrators it is {max(map(max, late[1::2]))} % too"
    (mean,) = (row for row in found["power"] if row[0] == "one alone, mean")
    for cell, slowdown in ((mean[3], 10), (mean[4], 20)):
        a, b = cell.split(" / ")
        yield f"by {slowdown} % is found in {a} % of the trials with m = 5 and {b} % with m = 8"
    stated = [row[2].split(": ") for row in found["calibration"]]
    effects = sorted(int(effect[1:-2]) for effect, _ in stated)
    yield f"with m = 8 it is +{effects[0]} % to +{effects[-1]} % by precision"
    rates = [int(cell.split()[-2]) for row in found["calibration"] for cell in row[1:]]
    yield f"it is found in {min(rates)} % to {max(rates)} % by precision and m"
    yield f"{sum(75 <= r <= 85 for r in rates)} of {len(rates)} are inside"
    count, alarms, _, apart, detectable, *_ = found["pairs"][0]
    alarms = alarms.replace("of", "alarms of")
    yield f"{count} pairs detect {detectable.split(' (')[0]}, with {alarms}"
    yield f"only {apart} of these windows share no session"
    ways = [[int(cell) for cell in row[3:]] for row in found["rules"][:-2]]
    loud = [way[0] for way in ways if way[0] > 5]
    yield f"of {len(ways)} ways to use them, {len(loud)} raise false alarms"
    yield f"in {min(loud)} % to {max(loud)} % of the draws"


def _number(text):
    return float(text.split()[0])


def _missing(page):
    answer = " ".join(page[: page.index("![")].split())
    return [figures for figures in _expected(page) if figures not in answer]


class TestThePage:
    @pytest.mark.parametrize("name", ["recording", "noise", "figures", "in-order", "pairs"])
    def test_tables_that_are_cheap_to_make_are_those_of_the_sessions(self, recorded, page, name):
        assert tables.insert(page, name, tables.TABLES[name](recorded)) == page

    def test_rows_of_the_other_tables_are_those_of_the_sessions(self, recorded, page, monkeypatch):
        rows = {name: _rows(_block(page, name)) for name in tables.TABLES}
        monkeypatch.setattr(trials, "BASELINES", (5,))
        monkeypatch.setattr(tables, "_CASES", ((DEFAULT_TOLERANCE, 5),))
        # It remembers its results by how it was called: here always in the same way.
        drawn = trials.alarms_drawn
        monkeypatch.setattr(
            trials,
            "alarms_drawn",
            lambda recording, count, tolerance=DEFAULT_TOLERANCE: drawn(
                recording, count, tolerance
            ),
        )
        assert _rows(tables.drawn_table(recorded)) == rows["drawn"][:1]
        assert _rows(tables.calibration_table(recorded)) == [row[:2] for row in rows["calibration"]]
        assert _rows(tables.power_table(recorded)) == [
            [cell.split(" / ")[0] for cell in row] for row in rows["power"]
        ]
        monkeypatch.setattr(rules, "WAYS", rules.WAYS[:3])
        of_cnnprec = [row for row in rows["rules"] if row[:2] == ["**cnnprec**", "5 sessions"]]
        assert _rows(tables.rules_table(recorded)) == [*rows["rules"][:3], *of_cnnprec]

    def test_the_program_prints_what_stands_on_the_page(self, page):
        command = [sys.executable, str(_FOLDER), "--table", "noise"]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert printed == f"## noise\n\n{_block(page, 'noise')}\n\n"

    def test_the_answer_has_the_figures_of_the_tables(self, page):
        assert _missing(page) == []

    @pytest.mark.parametrize(
        ("right", "wrong"),
        [
            ("m = 8: 3 of 92", "m = 8: 2 of 92"),
            ("upper bound 8.2 %", "upper bound 8.1 %"),
            ("0.6 % to 1.0 %", "0.6 % to 0.9 %"),
            ("at most 0.0 %", "at most 0.1 %"),
            ("is found in 30 %", "is found in 29 %"),
            ("with m = 8 it is +13 %", "with m = 8 it is +12 %"),
            ("81 % to 87 %", "81 % to 88 %"),
            ("6 pairs detect +10 %", "6 pairs detect +7 %"),
            ("11 raise false alarms", "10 raise false alarms"),
        ],
    )
    def test_a_planted_wrong_figure_in_the_answer_is_found(self, page, right, wrong):
        assert page.count(right) == 1
        assert len(_missing(page.replace(right, wrong))) == 1

    @pytest.mark.parametrize("name", ["noise", "in-order"])
    def test_a_planted_wrong_figure_in_a_table_is_found(self, recorded, page, name):
        block = _block(page, name)
        digit = re.search("[1-9](?= %)", block)
        planted = f"{block[: digit.start()]}0{block[digit.end() :]}"
        assert tables.TABLES[name](recorded) == block != planted

    def test_the_numbers_of_draws_are_those_of_the_page(self, page):
        words = " ".join(page.split())
        assert f"{trials.POWER_DRAWS} random draws at a tolerance of 3 %" in words
        assert f"in each of {trials.CALIBRATION_DRAWS} random draws" in words
        assert f"the first {rules.RULE_DRAWS} of the same random draws" in words
        assert f"{rules.CRITERION_RESAMPLES:,} bootstrap samples" in words

    def test_every_table_stands_beside_its_command(self, page):
        for name in tables.TABLES:
            text = page[: page.index(f"<!-- {name}: begin -->")].split("-->")[-1]
            assert f"`python docs/evidence --table {name}`" in text

    def test_lines_are_short(self, page):
        # A row of a table cannot be broken.
        assert [line for line in page.splitlines() if len(line) > 120 and line[0] != "|"] == []

    def test_the_plot_is_there_and_small(self):
        content = (_FOLDER / "evidence.png").read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) <= 200_000

    def test_a_text_is_put_between_its_markers_alone(self):
        before = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb"
        assert tables.insert(before, "x", "new") == before.replace("old", "new")

    @pytest.mark.parametrize("page", ["", "<!-- x: end --><!-- x: begin -->"])
    def test_a_page_without_the_markers_is_refused(self, page):
        with pytest.raises(ValueError, match="once each and in this order"):
            tables.insert(page, "x", "new")


class TestTrials:
    def test_in_order_takes_the_sessions_just_before(self, recorded):
        first, *_, last = found = list(trials.in_order(recorded, 5))
        assert (first.baseline, first.current) == (recorded.sessions[:5], recorded.sessions[5])
        assert (last.baseline, last.current) == (recorded.sessions[-6:-1], recorded.sessions[-1])
        assert len(found) == sum(len(stretch) - 5 for stretch in recorded.stretches)

    def test_in_order_with_a_gap_leaves_the_sessions_between_out(self, recorded):
        first, *_, last = trials.in_order(recorded, 5, gap=10)
        assert (first.baseline, first.current) == (recorded.sessions[:5], recorded.sessions[15])
        assert (last.baseline, last.current) == (recorded.sessions[-16:-11], recorded.sessions[-1])

    def test_draws_are_the_same_every_time_and_of_different_sessions(self, recorded):
        once, again = (list(trials.drawn(recorded, 5, 20)) for _ in range(2))
        assert once == again
        stretches = [set(map(id, stretch)) for stretch in recorded.stretches]
        for trial in once:
            drawn = {id(session) for session in (*trial.baseline, trial.current)}
            assert len(drawn) == 6
            assert any(drawn <= stretch for stretch in stretches)

    def test_a_slowdown_touches_the_turns_of_its_precision_alone(self, recorded):
        trial = next(trials.in_order(recorded, 5))
        slowed = trial.slowed(1.5, ["half"])
        assert slowed.baseline == trial.baseline
        for name, record in slowed.current.items():
            old = trial.current[name]
            factor = 1.5 if name == "half" else 1.0
            assert record.turns.seconds == tuple(s * factor for s in old.turns.seconds)
            assert record.rounds == old.rounds

    def test_a_slowdown_by_ten_is_found_and_only_where_it_is(self, recorded):
        # 1 + 9 is 230 % on the scale of logs, and the table of noise has nothing near it.
        trial = next(trials.in_order(recorded, 5))
        slowed = trial.slowed(10, ["half"])
        assert slowed.judge().of("speed", "half").verdict is Verdict.FAIL
        assert slowed.judge().of("memory", "") == trial.judge().of("memory", "")
        assert trial.finds(9, "half")
        assert trial.finds_all(9, recorded.precisions) == ([True] * 4, True)

    def test_without_calibrators_nothing_else_is_gone(self, recorded):
        trial = next(trials.in_order(recorded, 5))
        bare = trial.without_calibrators()
        assert trial.judge().machine is not None
        assert bare.judge().machine is None
        for name, record in bare.current.items():
            assert record.turns.seconds == trial.current[name].turns.seconds

    @pytest.mark.parametrize(
        ("hits", "trials_", "bound"),
        [
            (0, 59, 1 - 0.05 ** (1 / 59)),  # no hit: (1 - p)**n = 0.05
            (1, 1, 1.0),
            (1, 2, math.sqrt(0.95)),  # at most one of two: 1 - p**2 = 0.05
        ],
    )
    def test_the_upper_bound_is_clopper_and_pearsons(self, hits, trials_, bound):
        # The incomplete beta function is inverted to a few units in the last place.
        assert trials.upper_bound(hits, trials_) == pytest.approx(bound, rel=1e-12)

    @pytest.mark.parametrize(("hits", "trials_"), [(0, 0), (3, 2), (-1, 2)])
    def test_a_share_that_is_none_is_refused(self, hits, trials_):
        with pytest.raises(ValueError, match="is no share"):
            trials.upper_bound(hits, trials_)


def _rule(name):
    (found,) = (rule for rule in rules.RULES if rule.name == name)
    return lambda old, new: found.slower(np.array(old, float), np.array(new, float))


class TestRules:
    @pytest.mark.parametrize(
        ("field", "new", "slower"),
        [
            # Of 1, 2, 3 the minimum is 1 and the mean 2; the limit is more than 5 %.
            ("min", [1.06, 1.06, 1.06], True),
            ("min", [1.04, 9.0, 9.0], False),
            ("mean", [2.2, 2.2, 2.2], True),
            ("mean", [0.1, 2.0, 4.0], False),
        ],
    )
    def test_pytest_benchmark_compares_one_field(self, field, new, slower):
        assert _rule(f"pytest-benchmark `{field}:5%`")([1, 2, 3], new) is slower

    def test_the_u_test_of_three_against_three_never_fails(self):
        # The most extreme of the 20 orders has p = 2/20 = 0.1.
        assert not _rule("google/benchmark U test")([1, 2, 3], [100, 101, 102])

    def test_the_u_test_of_three_against_fifteen_can_fail(self):
        # The most extreme of the 816 orders has p = 2/816.
        assert _rule("google/benchmark U test")(range(15), [100, 101, 102])
        assert not _rule("google/benchmark U test")(range(100, 115), [1, 2, 3])

    @pytest.mark.parametrize(("shift", "slower"), [(2.2, False), (2.3, True), (-9, False)])
    def test_the_t_test_of_three_against_three(self, shift, slower):
        # Both have variance 1, so the error is sqrt(2/3) = 0.816. t(0.975; 4) = 2.776, and the
        # limit is 2.267.
        new = [1 + shift, 2 + shift, 3 + shift]
        assert _rule("pyperf t test")([1, 2, 3], new) is slower

    @pytest.mark.parametrize(("middle", "slower"), [(5.6, False), (5.8, True)])
    def test_the_t_test_of_unequal_numbers_pools_the_variance(self, middle, slower):
        # Squares of 1, 2, 3, 4 about 2.5: 5; of two values one from their middle: 2. The error is
        # sqrt(7/4 * (1/4 + 1/2)) = 1.146, and the limit 2.5 + 2.776 * 1.146 = 5.68.
        assert _rule("pyperf t test")([1, 2, 3, 4], [middle - 1, middle + 1]) is slower

    def test_criterion_finds_a_jump_far_outside_the_spread(self):
        old = np.linspace(1.0, 1.1, 30)
        assert _rule("criterion.rs")(old, old + 1)

    def test_criterion_ignores_what_is_within_its_noise_threshold(self):
        # Certain, but 0.5 %: p is 0 and the interval lies below 1 %.
        old = np.linspace(1.0, 1.0001, 30)
        assert not _rule("criterion.rs")(old, old * 1.005)
        assert _rule("criterion.rs")(old, old * 1.02)

    def test_criterion_calls_neither_equal_nor_faster_rounds_slower(self):
        old = np.linspace(1.0, 1.1, 30)
        assert not _rule("criterion.rs")(old, old)
        assert not _rule("criterion.rs")(old, old - 0.5)
