"""The recorded sessions, the page about them, and the rules of other tools that it rates."""

import dataclasses
import importlib.util
import json
import math
import re
import sys
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from cnnprec.baseline import SavedSession
from cnnprec.compare import DEFAULT_TOLERANCE, Verdict
from cnnprec.record import Environment

_FOLDER = Path(__file__).parents[1] / "docs" / "evidence"
_SPEC = importlib.util.spec_from_file_location("recompute", _FOLDER / "recompute.py")
assert _SPEC is not None
assert _SPEC.loader is not None
recompute = importlib.util.module_from_spec(_SPEC)
# A dataclass looks up its annotations in the module by its name.
sys.modules["recompute"] = recompute
_SPEC.loader.exec_module(recompute)

FEWEST_SESSIONS = 60


@pytest.fixture(scope="module")
def plain():
    return json.loads(recompute.DATA.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def evidence(plain):
    return recompute.rebuild(plain)


@pytest.fixture(scope="module")
def page():
    return recompute.README.read_text(encoding="utf-8")


def _saved(records, name="0001_aa.json"):
    return SavedSession(
        path=Path(name),
        name="aa",
        number=1,
        saved_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
        commit=None,
        records=records,
        failed=False,
        verdict=None,
    )


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
    def test_it_holds_enough_sessions_in_the_order_of_time(self, evidence):
        assert len(evidence.sessions) >= FEWEST_SESSIONS
        assert sorted(set(evidence.saved_at)) == list(evidence.saved_at)

    def test_every_session_has_the_four_precisions_and_all_rounds(self, evidence):
        for session in evidence.sessions:
            assert set(session) == {"single", "double", "half", "mixed_half"}
            for record in session.values():
                assert len(record.rounds) == record.config.runs == 3

    def test_no_host_name_and_no_path_is_in_it(self, plain):
        # All text is below these keys, so there is no place for anything else.
        assert set(plain) == {
            *("layout", "schema_version", "config", "data", "environment", "jit_compiled"),
            *("precisions", "runs", "columns", "sessions"),
        }
        assert set(plain["environment"]) == {f.name for f in dataclasses.fields(Environment)}
        assert {key for session in plain["sessions"] for key in session} == {"saved_at", "rounds"}
        assert not [text for text in _strings(plain) if "/" in text or "\\" in text]

    def test_what_is_written_is_what_was_read(self, plain, evidence):
        saved = [
            dataclasses.replace(_saved(records), saved_at=datetime.fromisoformat(time))
            for records, time in zip(evidence.sessions, evidence.saved_at, strict=True)
        ]
        text = recompute.render(recompute.compact(saved))
        assert text == recompute.DATA.read_text(encoding="utf-8")
        assert len(text) <= recompute.MOST_BYTES

    def test_a_session_of_another_machine_is_refused(self, evidence):
        records = evidence.sessions[1]
        moved = {
            name: dataclasses.replace(
                record, environment=dataclasses.replace(record.environment, usable_cores=64)
            )
            for name, record in records.items()
        }
        with pytest.raises(ValueError, match=r"0002.*usable_cores: 2 -> 64"):
            recompute.compact([_saved(evidence.sessions[0]), _saved(moved, "0002_aa.json")])

    def test_a_session_of_fewer_precisions_is_refused(self, evidence):
        fewer = {"single": evidence.sessions[1]["single"]}
        with pytest.raises(ValueError, match="measured single, the first"):
            recompute.compact([_saved(evidence.sessions[0]), _saved(fewer)])

    def test_a_round_without_a_time_is_refused(self, evidence):
        record = evidence.sessions[1]["single"]
        untimed = dataclasses.replace(
            record, rounds=tuple(dataclasses.replace(r, seconds=None) for r in record.rounds)
        )
        with pytest.raises(ValueError, match="single: a round without a time"):
            recompute.compact(
                [
                    _saved(evidence.sessions[0]),
                    _saved({**evidence.sessions[1], "single": untimed}),
                ]
            )

    def test_one_session_is_refused(self, evidence):
        with pytest.raises(ValueError, match="1 sessions have no spread"):
            recompute.compact([_saved(evidence.sessions[0])])

    def test_a_file_of_another_layout_is_refused(self, plain):
        with pytest.raises(ValueError, match="layout 0; 1 is accepted"):
            recompute.rebuild({**plain, "layout": 0})

    def test_a_file_that_is_too_large_is_refused(self, plain):
        # A session is a line of some 500 bytes, so a thousand are more than 150,000.
        with pytest.raises(ValueError, match="at most 150000 are accepted"):
            recompute.render({**plain, "sessions": plain["sessions"][:1] * 1000})

    def test_collect_refuses_a_folder_with_a_file_that_is_no_session(self, tmp_path):
        (tmp_path / "0001_aa.json").write_text("{}", encoding="utf-8")
        with pytest.raises(ValueError, match=r"0001_aa\.json: not the layout"):
            recompute.collect(tmp_path, tmp_path / "sessions.json")
        assert not (tmp_path / "sessions.json").exists()


class TestThePage:
    def test_false_alarms_in_order_are_those_of_the_sessions(self, evidence, page):
        alarms = recompute.alarms_in_order(evidence, 5, DEFAULT_TOLERANCE)
        bound = recompute.upper_bound(alarms.alarms, alarms.trials) * 100
        share = f"{alarms.alarms} of {alarms.trials} = {alarms.share * 100:.1f} %"
        assert f"m = 5: {share}, 95 % upper bound {bound:.1f} %" in page
        assert f"| 3% | 5 | {alarms.alarms} of {alarms.trials} | {bound:.1f} % |" in page

    @pytest.mark.parametrize("name", ["recording", "noise", "in-order", "gaps", "pairs"])
    def test_tables_that_are_cheap_to_make_are_those_of_the_sessions(self, evidence, page, name):
        assert recompute.insert(page, name, recompute.TABLES[name](evidence)) == page

    def test_the_numbers_of_draws_are_those_of_the_page(self, page):
        assert f"{recompute.POWER_DRAWS} random draws at tolerance" in page
        assert f"With {recompute.CALIBRATION_DRAWS} draws" in page
        assert f"the first {recompute.RULE_DRAWS} of the same random draws" in page
        assert f"{recompute.RESAMPLES:,} resamples" in page
        assert f"{recompute.CRITERION_RESAMPLES:,} bootstrap samples" in page

    def test_every_table_stands_on_the_page(self, page):
        for name in recompute.TABLES:
            block = re.search(f"<!-- {name}: begin -->\n(.+?)\n<!-- {name}: end -->", page, re.S)
            assert block is not None, name

    def test_the_plot_is_there_and_small(self):
        content = (_FOLDER / recompute.PLOT).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) <= 200_000

    def test_a_text_is_put_between_its_markers_alone(self):
        before = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb"
        assert recompute.insert(before, "x", "new") == before.replace("old", "new")

    @pytest.mark.parametrize("page", ["", "<!-- x: end --><!-- x: begin -->"])
    def test_a_page_without_the_markers_is_refused(self, page):
        with pytest.raises(ValueError, match="once each and in this order"):
            recompute.insert(page, "x", "new")


class TestTrials:
    def test_in_order_takes_the_sessions_just_before(self, evidence):
        first, *_, last = recompute.in_order(evidence, 5)
        assert (first.baseline, first.current) == (evidence.sessions[:5], evidence.sessions[5])
        assert (last.baseline, last.current) == (evidence.sessions[-6:-1], evidence.sessions[-1])

    def test_in_order_with_a_gap_leaves_the_sessions_between_out(self, evidence):
        first, *_, last = recompute.in_order(evidence, 5, gap=10)
        assert (first.baseline, first.current) == (evidence.sessions[:5], evidence.sessions[15])
        assert (last.baseline, last.current) == (evidence.sessions[-16:-11], evidence.sessions[-1])

    def test_draws_are_the_same_every_time_and_of_different_sessions(self, evidence):
        once, again = (list(recompute.drawn(evidence, 5, 20)) for _ in range(2))
        assert once == again
        for trial in once:
            drawn = [id(session) for session in (*trial.baseline, trial.current)]
            assert len(set(drawn)) == 6

    def test_a_slowdown_touches_both_clocks_of_its_precision_alone(self, evidence):
        trial = next(recompute.in_order(evidence, 5))
        slowed = trial.slowed(1.5, ["half"])
        assert slowed.baseline == trial.baseline
        for name, record in slowed.current.items():
            factor = 1.5 if name == "half" else 1.0
            for new, old in zip(record.rounds, trial.current[name].rounds, strict=True):
                assert new.seconds == old.seconds * factor
                assert new.cpu_seconds == old.cpu_seconds * factor
                assert (new.run, new.peak_memory_bytes) == (old.run, old.peak_memory_bytes)

    def test_a_slowdown_by_ten_is_found_and_only_where_it_is(self, evidence):
        # 1 + 9 is 230 % on the scale of logs; the t test at 0.7 * 5 % / 4 with 5 sessions finds
        # 4.6 standard deviations, and the table of noise has none near 50 %.
        trial = next(recompute.in_order(evidence, 5)).slowed(10, ["half"])
        assert trial.judge().of("speed", "half").verdict is Verdict.FAIL
        assert trial.judge().of("memory", "half") == next(
            recompute.in_order(evidence, 5)
        ).judge().of("memory", "half")

    def test_without_wall_time_the_first_clock_is_judged_alike(self, evidence):
        trial = next(recompute.in_order(evidence, 5))
        shown, still = trial.judge(), trial.without_wall().judge()
        for name in evidence.precisions:
            assert still.of("speed", name).clock == "CPU time"
            if shown.of("speed", name).clock == "CPU time":
                assert still.of("speed", name).estimate == shown.of("speed", name).estimate

    @pytest.mark.parametrize(
        ("hits", "trials", "bound"),
        [
            (0, 59, 1 - 0.05 ** (1 / 59)),  # no hit: (1 - p)**n = 0.05
            (1, 1, 1.0),
            (1, 2, math.sqrt(0.95)),  # at most one of two: 1 - p**2 = 0.05
        ],
    )
    def test_the_upper_bound_is_clopper_and_pearsons(self, hits, trials, bound):
        # The incomplete beta function is inverted to a few units in the last place.
        assert recompute.upper_bound(hits, trials) == pytest.approx(bound, rel=1e-12)

    @pytest.mark.parametrize(("hits", "trials"), [(0, 0), (3, 2), (-1, 2)])
    def test_a_share_that_is_none_is_refused(self, hits, trials):
        with pytest.raises(ValueError, match="is no share"):
            recompute.upper_bound(hits, trials)

    def test_autocorrelation_of_an_alternating_series_is_negative(self):
        # Three products of -1 over a sum of four squares of 1.
        assert recompute.autocorrelation(np.array([1.0, -1.0, 1.0, -1.0])) == -0.75


def _rule(name):
    (found,) = (rule for rule in recompute.RULES if rule.name == name)
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
