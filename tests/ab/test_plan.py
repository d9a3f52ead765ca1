"""What is compared, in which order, and what is refused before anything long is started."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnprec.ab import plan as planning
from cnnprec.cli.main import main
from cnnprec.verdicts.verdict import Verdict
from tests.support.ab import refused


def test_order_is_counterbalanced():
    assert [str(job) for job in planning.schedule(3)] == [
        *("0001-A", "0001-B", "0002-B", "0002-A", "0003-A", "0003-B"),
    ]


@given(st.integers(0, 60))
def test_every_pair_has_both_sides_and_each_side_goes_first_equally_often(pairs):
    jobs = planning.schedule(pairs)
    assert sorted(jobs) == [
        planning.Job(pair, side) for pair in range(1, pairs + 1) for side in "AB"
    ]
    first = [job.side for job in jobs[::2]]
    assert first.count("A") - first.count("B") in (0, 1)
    assert [job.pair for job in jobs[::2]] == [job.pair for job in jobs[1::2]]


def test_every_verdict_has_an_exit_code_and_only_a_pass_is_zero():
    assert set(planning.EXIT_OF) == set(Verdict)
    assert [verdict for verdict in Verdict if planning.EXIT_OF[verdict] == 0] == [Verdict.PASS]


def test_missing_interpreter_is_refused(bench, capsys):
    text = refused(bench, capsys, "--b-python=/no/such/python")
    assert "--b-python /no/such/python: no such program" in text


def test_interpreter_is_found_on_the_path_and_its_link_is_kept(bench, monkeypatch):
    link = bench.folder / "bin" / "python-of-a"
    link.parent.mkdir()
    link.symlink_to(bench.folder / "a" / "python")
    monkeypatch.setenv("PATH", str(link.parent), prepend=os.pathsep)
    found = planning.make_plan(
        a_python="python-of-a", a_checkout=bench.folder / "a", b_checkout=bench.folder / "b"
    )
    assert found.sides["A"].python == str(link)


@pytest.mark.parametrize("missing", ["benchmarks/test_training.py", "cnnprec/__init__.py"])
def test_folder_that_is_no_checkout_is_refused(bench, capsys, missing):
    (bench.folder / "b" / missing).unlink()
    text = refused(bench, capsys)
    assert f"--b-checkout {bench.folder / 'b'}: no checkout of this repository ({missing}" in text


@pytest.mark.parametrize(
    "option",
    [
        *("--benchmark-json=x", "--benchmark-json", "--order-seed=3", "--benchmark-save=x", "-n"),
        *("-n2", "-nauto", "--numprocesses=2", "--benchmark-compare", "--benchmark-compare=1"),
        *("--benchmark-disable", "--benchmark-autosave", "--benchmark-skip", "--collect-only"),
    ],
)
def test_options_that_are_for_ab_to_set_are_refused(bench, capsys, option):
    text = refused(bench, capsys, "--", "--precision", "single", option)
    assert f"{option} after --:" in text
    assert "Leave it out" in text


@pytest.mark.parametrize(
    "option", ["--benchmark-sort=name", "--no-header", "--benchmark-only", "-x", "--runs=10"]
)
def test_other_options_are_passed_on(bench, option):
    sides = {f"{side}_checkout": bench.folder / side for side in "ab"}
    assert planning.make_plan(**sides, options=[option]).options == (option,)


@pytest.mark.parametrize(
    ("text", "looks"), [("6,12,24", (6, 12, 24)), ("5", (5,)), ("3,6", (3, 6)), (" 3, 9", (3, 9))]
)
def test_looks_are_read(text, looks):
    assert planning.parse_looks(text) == looks


@pytest.mark.parametrize("text", ["", "6,x", "6,,12", "6.5", "12,6", "6,6", "2,6", "-6"])
def test_looks_that_make_no_sense_are_refused(text):
    with pytest.raises(ValueError, match=r"give increasing numbers .* such as 6,12,24") as caught:
        planning.parse_looks(text)
    assert str(caught.value).startswith(repr(text))


# 2**-4 is above 0.05, and 2**-5 above 0.05 / 2: no flip of signs is rare enough.
@pytest.mark.parametrize(("text", "needed"), [("4", 5), ("3,5", 6)])
def test_looks_that_can_never_show_a_slowdown_are_refused(text, needed):
    with pytest.raises(ValueError, match=f"the last at least {needed}, such as 6,12,24"):
        planning.parse_looks(text)


@pytest.mark.parametrize(
    "limits", [{"tolerance": -0.1}, {"tolerance": 0.2, "margin": 0.1}, {"margin": float("nan")}]
)
def test_limits_that_make_no_sense_are_refused(limits):
    with pytest.raises(planning.AbError, match="--tolerance, --margin"):
        planning.make_plan(**limits)


def test_a_side_against_itself_is_refused_unless_it_is_meant(bench, capsys):
    def sides(*more: str) -> list[str]:
        python, checkout = (str(bench.folder / "a" / name) for name in ("python", ""))
        both = [w for s in "ab" for w in (f"--{s}-python", python, f"--{s}-checkout", checkout)]
        return ["ab", *both, "--looks=5", f"--out={bench.out}", *more]

    assert main(sides()) == 4
    assert "A and B are the same: " in capsys.readouterr().err
    assert not bench.out.exists()
    assert main(sides("--aa")) == 0
    shown = capsys.readouterr()
    python = bench.folder / "a" / "python"
    assert f"A: {python} in {bench.folder / 'a'}" in shown.err
    assert f"B: {python} in {bench.folder / 'a'}" in shown.err
    assert "--aa" in (bench.out / "ab.md").read_text()
