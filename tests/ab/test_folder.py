"""The folder of a comparison: what goes on, and what is refused."""

import pytest

from cnnprec.ab import folder as folders
from tests.support.ab import text_of


def test_other_options_are_refused_and_those_of_the_folder_shown(bench, capsys):
    bench.run()
    before = bench.files()
    capsys.readouterr()
    assert bench.run("--tolerance=0.05", "--", "--runs=10", looks="5,9") == 4
    text = text_of(capsys)
    assert text.endswith("--looks 5 --tolerance 0.03 --margin 0.1")
    assert "Choose another folder with --out" in text
    assert bench.files() == before


@pytest.mark.parametrize("content", [b"", b"--looks 5", b"\xff\0"])
def test_a_plan_with_anything_else_in_it_is_refused(bench, capsys, content):
    bench.out.mkdir()
    (bench.out / "plan.txt").write_bytes(content)
    assert bench.run() == 4
    text = text_of(capsys)
    assert "holds a comparison with other options" in text
    assert "Choose another folder with --out" in text
    assert not bench.noted("calls")


def test_sessions_without_a_plan_are_refused(bench, capsys):
    (bench.out / "sessions").mkdir(parents=True)
    assert bench.run() == 4
    assert "is none of cnnprec ab" in text_of(capsys)


def test_a_kept_session_that_was_damaged_since_is_named_and_not_silently_replaced(bench, capsys):
    bench.run()
    path = bench.out / "sessions" / "0002-A.json"
    path.write_bytes(path.read_bytes()[:1000])
    capsys.readouterr()
    assert bench.run() == 5
    text = text_of(capsys)
    assert str(path) in text
    assert "delete it and the same command measures it again" in text
    assert path.exists()
    path.unlink()
    assert bench.run() == 0
    assert bench.measured()[10:] == ["0002-A"]


def test_folder_in_use_is_refused(bench, capsys):
    with folders.locked(bench.out):
        assert bench.run() == 4
    assert "another cnnprec ab" in text_of(capsys)
    assert bench.run() == 0


def test_output_folder_that_cannot_be_made_is_refused(bench, capsys):
    (bench.folder / "file").touch()
    bench.out = bench.folder / "file" / "out"
    assert bench.run() == 4
    assert "cannot be written" in text_of(capsys)
    assert not bench.noted("calls")
