"""The file of a scaling study."""

import dataclasses
import json

import pytest

from cnnprec.records.scaling import Point, Study, read_study, write_study
from tests.support.studies import point

CONDITIONS = {"machine": "cpu-x2", "turns": "20"}
STUDY = Study(CONDITIONS, (point(), Point("double", 8, 4096, missing="too large")))


@pytest.fixture
def path(tmp_path):
    write_study(tmp_path / "s.json", STUDY)
    return tmp_path / "s.json"


def test_what_was_written_is_read(path):
    assert read_study(path, CONDITIONS) == STUDY
    assert read_study(path, CONDITIONS).of(8, 4096) == {"double": STUDY.points[1]}
    assert read_study(path, CONDITIONS).of(1, 4096) == {}


def test_no_file_is_an_empty_study(tmp_path):
    assert read_study(tmp_path / "none.json", CONDITIONS) == Study(CONDITIONS)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_torn_file_is_refused_with_its_name_and_a_remedy(path, share):
    text = path.read_text().strip()
    path.write_text(text[: int(share * len(text))])
    with pytest.raises(ValueError, match=r"s\.json: not a whole file of cnnprec scaling .* Choose"):
        read_study(path, CONDITIONS)


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"a": 1}', "\xff", "[" * 100_000, '{"conditions": {}, "points": 3}']
)
def test_other_file_is_refused(path, text):
    path.write_text(text)
    with pytest.raises(ValueError, match="not a whole file of cnnprec scaling"):
        read_study(path, CONDITIONS)


@pytest.mark.parametrize("seconds", [0, -1.0, 1e300, "nan", None])
def test_time_that_is_none_is_refused(path, seconds):
    plain = json.loads(path.read_text())
    plain["points"][0]["step_seconds"][0] = seconds
    path.write_text(json.dumps(plain))
    with pytest.raises(ValueError, match=r"not a whole file.*step_seconds"):
        read_study(path, CONDITIONS)


@pytest.mark.parametrize("name", CONDITIONS)
def test_study_under_other_conditions_is_refused_with_both(path, name):
    now = {**CONDITIONS, name: "other"}
    with pytest.raises(ValueError, match=f"was measured with {name} {CONDITIONS[name]}, now other"):
        read_study(path, now)


def test_conditions_of_the_file_may_not_move_the_cursor(path):
    write_study(path, dataclasses.replace(STUDY, conditions={"machine": "\x1b[2J", "turns": "20"}))
    with pytest.raises(ValueError, match=r"machine \\x1b\[2J, now cpu-x2"):
        read_study(path, CONDITIONS)
