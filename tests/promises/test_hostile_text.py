"""Text from files is one printable line wherever it is shown, and no Markdown or HTML."""

import json
import re
from xml.etree import ElementTree

import pytest

from cnnprec.cli.main import main
from cnnprec.records.read_sessions import read_session
from cnnprec.text import markdown_text, printable
from tests.support import hostile, sessions

FILE_NAME = "0009_\x1b[2J\nverdict: PASS <b> `|.json"


@pytest.fixture
def hostile_file(tmp_path):
    file = hostile.plain(hostile.on_gpu())
    for benchmark in file["benchmarks"]:
        benchmark["name"] += hostile.ESCAPES
        benchmark["extra_info"]["cnnprec"] = hostile.texts(benchmark["extra_info"]["cnnprec"])
    return sessions.put(tmp_path / FILE_NAME, file)


def check(text: str) -> None:
    assert all(line.isprintable() for line in text.splitlines()), repr(text)
    assert "\x1b" not in text
    assert not re.search(r"^verdict: PASS\b", text, re.M)


def test_words_that_a_terminal_heeds_are_shown_as_escapes():
    assert printable("a\x1b[2J\n\u202eb\ud800") == "a\\x1b[2J\\n\\u202eb\\ud800"
    assert printable("plain, ± and é") == "plain, ± and é"
    assert markdown_text("`<b>|[x](y) *") == "\\`&lt;b>\\|\\[x\\](y) \\*"
    assert markdown_text("mixed_half 3 % ± 1") == "mixed_half 3 % ± 1"


def test_records_hold_no_text_that_a_terminal_heeds(hostile_file):
    records = read_session(hostile_file).records
    seen = []

    def look(value):
        if isinstance(value, dict):
            for item in value.values():
                look(item)
        elif isinstance(value, list | tuple):
            for item in value:
                look(item)
        elif isinstance(value, str):
            assert value.isprintable()
            seen.append("\\x1b" in value)

    look([record.to_dict() for record in records.values()])
    assert sum(seen) > 40


def test_history_shows_lines_of_its_own_only(hostile_file, tmp_path, capsys):
    sessions.put(tmp_path / ("0010" + FILE_NAME), "no session")
    assert main(["history", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    check(shown.out)
    check(shown.err)
    assert "left out" in shown.err
    assert "\\x1b" in shown.out


@pytest.mark.parametrize("options", [[], ["--markdown"]])
def test_report_and_compare_show_lines_of_their_own_only(hostile_file, tmp_path, capsys, options):
    good = sessions.put(tmp_path / "good" / "0001_a.json", hostile.plain(hostile.on_gpu()))
    assert main(["report", *options, str(hostile_file), str(good)]) == 0
    text = capsys.readouterr().out
    check(text)
    assert text.count("\n```") == (4 if options else 0)
    main(["compare", *options, str(good), "--", str(hostile_file)])
    main(["compare", *options, str(hostile_file), "--", str(good)])
    output = capsys.readouterr()
    check(output.out + output.err)
    if options:
        assert "<b" not in output.out
    bad = sessions.put(tmp_path / "bad" / FILE_NAME, "{")
    assert main(["compare", str(bad), "--", str(good)]) == 4
    assert main(["report", str(bad)]) == 4
    check(capsys.readouterr().err)


def test_live_session_shows_the_baseline_as_text(saved):
    for place, path in enumerate(saved.files()):
        plain = json.loads(path.read_text())
        for benchmark in plain["benchmarks"]:
            environment = benchmark["extra_info"]["cnnprec"]["environment"]
            environment["driver"] = "1" + hostile.ESCAPES
            environment["device_model"] += hostile.ESCAPES if place == 0 else ""
        path.unlink()
        path.with_name(f"{path.stem}{FILE_NAME[4:]}").write_text(json.dumps(plain))
    sessions.put(saved.folder / f"0020{FILE_NAME[4:]}", "{")
    result = saved.compare("--junitxml=junit.xml", "--benchmark-save=next")
    text = result.stdout.str()
    assert "= VERDICTS =" in text
    assert "driver: 1\\x1b[2J" in text
    assert "not comparable" in text
    assert "SKIPPED 0020" in text
    assert "\x1b[2J" not in text
    assert not re.search(r"^verdict: PASS\n```", text, re.M)
    assert ElementTree.parse(saved.path / "junit.xml").getroot() is not None  # noqa: S314
    assert "\x1b[2J" not in (saved.path / "junit.xml").read_text()
