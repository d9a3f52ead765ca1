"""The page of a session: its structure, what it says, and text that is not its own."""

import base64
import copy
import dataclasses
import random
import re
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("jinja2")

from cnnprec.records.read_sessions import read_session
from cnnprec.reports import page
from cnnprec.reports.page import MARKDOWN, PAGE, Report, clear, html, write_report
from cnnprec.verdicts.history import history
from cnnprec.verdicts.judge_saved import judge_saved
from tests.support import hostile, saved, sessions
from tests.support.records import record

PALETTE = Path(page.__file__).with_name("palette.css")
MUTANTS = 12
VOID = {"meta", "br", "hr", "img", "input", "link"}


class Tree(HTMLParser):
    """Elements with their attributes, texts and ancestors; fails where a tag is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict, tuple[str, ...]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), tuple(self.open)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes, _ in self.elements if name == tag]


def compared() -> Report:
    """A session that is slower than its baseline, with another driver, and a history."""
    made = [saved.saved(i, saved.turned(i % 3 / 100, 0.0)) for i in range(12)]
    slow = saved.saved(13, saved.turned(0.5, 0.0, driver="580.1"))
    comparison = judge_saved(made, slow)[1]
    row = [saved.saved(i, saved.turned((i > 7) * 0.3 + i % 3 / 100, 0.0)) for i in range(16)]
    past = history(row, row[-1].records)
    assert past.starts["single"][1:] == [8]
    return Report(list(slow.records.values()), comparison, past, slow.saved_at)


@pytest.fixture(scope="module")
def report() -> Report:
    return compared()


@pytest.fixture(scope="module")
def text(report) -> str:
    return html(report)


def test_page_is_well_formed_and_loads_nothing(text):
    tree = Tree(text)
    assert not any("id" in attributes for _, attributes, _ in tree.elements)
    assert len(tree.all("h1")) == 1
    assert not {"script", "link", "img", "iframe", "object"} & {name for name, *_ in tree.elements}
    for _, attributes, _ in tree.elements:
        assert not {name for name in attributes if name.startswith("on") or name == "src"}
        for name in ("href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:application/json;base64,"))
    assert not re.search(r"url\((?!#)|@import", text)
    assert "default-src 'none'" in text
    assert len(text) < 3_000_000


def test_each_chart_has_words_and_a_table_behind_it(text):
    tree = Tree(text)
    titles = [said for tag, said in tree.texts if tag == "h3"]
    pictures = [a for _, a, _ in tree.elements if a.get("role") == "img"]
    figures = [above for name, _, above in tree.elements if name == "table" and "details" in above]
    assert len(pictures) == len(titles) == len(figures) == len(tree.all("figure")) >= 4
    for picture, title in zip(pictures, titles, strict=True):
        assert picture["aria-label"].startswith(f"{title}: ")
    assert all(a.get("scope") in ("row", "col") for a in tree.all("th"))


def test_decision_is_first_and_what_changed_follows(text):
    said = re.sub(r"\s+", " ", re.sub(r"<style.*?</style>|<[^>]+>", " ", text, flags=re.DOTALL))
    places = [said.index(word) for word in ("ROLL BACK (FAIL)", "What changed", "Verdicts")]
    assert places == sorted(places)
    assert "driver none 580.1" in said
    assert re.search(r"single: \d+\.\d % slower since 2026-01-01 08:00", said)
    assert "time per step" in said


def test_page_without_a_comparison_has_no_decision():
    said = html(Report([record("single"), record("double")]))
    assert 'class="decision' not in said
    assert "Which precision to use" in said
    Tree(said)


def test_data_link_is_a_session_that_can_be_read_again(report, text, tmp_path):
    (link,) = [a["href"] for a in Tree(text).all("a")]
    path = tmp_path / "again.json"
    path.write_bytes(base64.b64decode(link.partition(",")[2]))
    again = read_session(path)
    assert list(again.records.values()) == list(report.records)
    assert (again.saved_at, again.verdict) == (report.saved_at, "FAIL")


def test_sentences_on_wrong_operations_are_shown():
    path = sessions.DATA / "session-schema-6.json"
    (first, *others) = read_session(path).records.values()
    numerics = dataclasses.replace(first.numerics, wrong=("conv2d is <wrong>",))
    said = html(Report([dataclasses.replace(first, numerics=numerics), *others]))
    assert "conv2d is &lt;wrong&gt;" in said
    assert "half: diverged</text>" in said
    assert "Errors of operations" in said


def test_text_of_a_file_is_no_markup():
    file = hostile.plain(hostile.on_gpu())
    attack = "</td></svg><script>alert(1)</script>\"' onload='x' {{ 7 * 7 }} $\\frac"
    for benchmark in file["benchmarks"]:
        plain = hostile.texts(benchmark["extra_info"]["cnnprec"])
        plain["environment"]["device_model"] = plain["environment"]["driver"] = attack
        plain["diagnosis"] = plain["environment"]["commit"] = attack
        plain["turns"]["calibrators"] = [[attack, 0.01]]
        benchmark["extra_info"]["cnnprec"] = plain
    session = read_session_of(file)
    comparison = judge_saved([saved.saved(1, saved.turned(0, 0))], session)[1]
    said = html(Report(list(session.records.values()), comparison))
    tree = Tree(said)
    assert not tree.all("script")
    assert "{{ 7 * 7 }}" in said
    assert all("onload" not in attributes for _, attributes, _ in tree.elements)
    assert "alert(1)" in "".join(data for _, data in tree.texts)


def read_session_of(plain: dict):
    with tempfile.TemporaryDirectory() as folder:
        return read_session(sessions.put(Path(folder) / "0001_x.json", plain))


def test_whatever_reading_accepts_can_be_shown():
    dice, shown = random.Random(13), 0  # noqa: S311
    base = hostile.plain(hostile.on_gpu())
    good = read_session_of(copy.deepcopy(base))
    for _ in range(400):
        place, changed = hostile.mutant(base, dice)
        try:
            mutant = read_session_of(changed)
        except ValueError:
            continue
        shown += 1
        comparison = judge_saved([good], mutant)[1]
        try:
            Tree(html(Report(list(mutant.records.values()), comparison)))
        except Exception as error:
            raise AssertionError(f"{place}: {error!r}") from error
        if shown == MUTANTS:
            break
    assert shown == MUTANTS


def colours(css: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w]+): (#[0-9a-f]{3,6});", css))


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_colours_have_the_contrast_of_wcag_aa(dark):
    css = PALETTE.read_text()
    light, _, rest = css.partition("@media screen and (prefers-color-scheme: dark)")
    palette = colours(light) | (colours(rest) if dark else {})
    for name, colour in palette.items():
        if name in ("back", "panel", "line"):
            continue
        least = 3.0 if re.fullmatch(r"c\d+", name) else 4.5  # of graphics, of text
        for behind in ("back", "panel"):
            assert contrast(colour, palette[behind]) >= least, (name, behind)


def test_contrast_is_that_of_the_standard():
    assert contrast("#fff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_both_files_are_written_and_their_own_are_replaced(report, tmp_path):
    write_report(tmp_path, report)
    assert (tmp_path / PAGE).read_text().startswith("<!DOCTYPE html>")
    text = (tmp_path / MARKDOWN).read_text()
    assert text.startswith("# cnnprec\n\n## VERDICTS\n\n**FAIL, ROLL BACK**")
    assert "## RESULTS" in text
    clear(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [PAGE, MARKDOWN])
def test_file_of_somebody_else_is_never_replaced(tmp_path, name):
    (tmp_path / name).write_text("<!DOCTYPE html>\n<p>mine</p>")
    with pytest.raises(ValueError, match=rf"{name} is there and holds no report of cnnprec"):
        clear(tmp_path)
    assert "mine" in (tmp_path / name).read_text()


def test_what_is_not_installed_is_named_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ValueError, match=r"needs jinja2.*pip install 'cnnprec\[report\]'"):
        clear(tmp_path)
