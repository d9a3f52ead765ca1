"""`ab --out` touches only its own, and takes no session for another."""

import shutil

import pytest

from tests.support.ab import text_of


@pytest.mark.parametrize("name", ["ab.md", "ab.json", "logs/0001-A.log", "sessions/x.partial", "x"])
def test_folder_with_anything_else_in_it_is_refused_and_left_alone(bench, capsys, name):
    foreign = bench.out / name
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine")
    assert bench.run() == 4
    text = text_of(capsys)
    assert str(bench.out) in text
    assert "is not empty" in text
    assert "--out" in text
    assert [path for path in bench.out.rglob("*") if path.is_file()] == [foreign]
    assert foreign.read_text() == "mine"
    assert not bench.noted("calls")


def test_empty_folder_and_one_of_an_earlier_start_are_taken(bench):
    bench.out.mkdir()
    bench.tell(B={"starts": False})
    assert bench.run() == 4  # and leaves its lock
    bench.tell()
    assert bench.run() == 0
    assert bench.run() == 0


def test_links_are_not_followed(bench, capsys):
    victim = bench.folder / "victim"
    victim.write_text("mine")
    bench.out.mkdir()
    (bench.out / "lock").symlink_to(victim)
    assert bench.run() == 4
    assert "cannot be written" in text_of(capsys)
    assert victim.read_text() == "mine"


def test_what_is_no_partial_session_of_the_plan_stays(bench):
    bench.tell(B={"at": {"0001-B": "fail"}})
    assert bench.run() == 5
    (bench.out / "sessions" / "mine.partial").write_text("mine")
    (bench.out / "sessions" / "0001-B.json.partial").write_text("torso")
    bench.tell()
    assert bench.run() == 0
    assert (bench.out / "sessions" / "mine.partial").read_text() == "mine"
    assert not (bench.out / "sessions" / "0001-B.json.partial").exists()


def test_copy_of_a_session_under_anothers_name_is_refused(bench, capsys):
    bench.run()
    sessions = bench.out / "sessions"
    shutil.copy(sessions / "0001-A.json", sessions / "0002-A.json")
    capsys.readouterr()
    assert bench.run() == 5
    text = text_of(capsys)
    assert "0002-A.json: copy of 0001-A.json" in text
    assert "delete it" in text


def test_session_of_another_order_is_refused(bench, capsys):
    bench.run()
    path = bench.out / "sessions" / "0002-A.json"
    text = path.read_text()
    for seed, code in ((2, 0), (3, 5)):
        path.write_text(text.replace('"failed"', f'"order_seed": {seed}, "failed"'))
        assert bench.run() == code
    assert "its order seed is 3" in text_of(capsys)


def test_full_disk_is_told_after_the_verdict(bench, capsys, fill):
    assert bench.run() == 0
    (bench.out / "ab.md").unlink()
    capsys.readouterr()
    fill(bench.out)
    assert bench.run() == 5
    text = text_of(capsys)
    assert "verdict: PASS" in text
    assert "No space left on device" in text
    assert "Traceback" not in text
