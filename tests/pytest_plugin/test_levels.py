"""``--level`` sets other options where they are not given."""

import pytest

from cnnprec.pytest_plugin.session import SESSION
from cnnprec.pytest_plugin.settings import LEVEL_ROWS
from cnnprec.verdicts.limits import OPTIONS


def parsed(pytester, *arguments):
    """The options and the session of a command line."""
    config = pytester.parseconfigure("--device=cpu", *arguments)
    return config.option, config.stash[SESSION]


def test_without_a_level_options_are_as_usual(project):
    option, session = parsed(project.pytester)
    assert (session.config.runs, session.config.turns, session.numerics) == (3, 60, "quick")
    assert len(session.precisions) == 8
    assert option.soak is None


@pytest.mark.parametrize(
    ("level", "precisions", "runs", "turns", "numerics", "soak"),
    [
        ("1", 4, 1, 20, "quick", None),
        ("2", 8, 3, 60, "full", None),
        ("3", 8, 3, 60, "full", 8 * 3600),
    ],
)
def test_level_sets_what_its_row_says(project, level, precisions, runs, turns, numerics, soak):
    option, session = parsed(project.pytester, f"--level={level}")
    assert len(session.precisions) == precisions
    assert (session.config.runs, session.config.turns) == (runs, turns)
    assert (session.numerics, option.soak) == (numerics, soak)


def test_what_is_given_counts_more_than_the_level(project):
    given = ("--precision=half", "--runs=2", "--turns=30", "--numerics=off", "--soak=10m")
    option, session = parsed(project.pytester, "--level=3", *given)
    assert [precision.name for precision in session.precisions] == ["half"]
    assert (session.config.runs, session.config.turns, session.numerics) == (2, 30, "off")
    assert option.soak == 600


def test_settings_of_the_project_count_more_too_and_may_hold_the_level(project):
    text = '[tool.cnnprec]\nlevel = 3\nsoak = "2h"\nruns = 4\n'
    (project.path / "pyproject.toml").write_text(text)
    option, session = parsed(project.pytester)
    assert (session.config.runs, session.numerics, option.soak) == (4, "full", 7200)
    option, session = parsed(project.pytester, "--level=1", "--soak=1h")
    assert (session.config.turns, session.numerics, option.soak) == (20, "quick", 3600)


def test_help_says_what_each_level_sets(project):
    text = " ".join(project.pytester.runpytest_inprocess("--help").stdout.str().split())
    for level, row in LEVEL_ROWS.items():
        assert f"{level}: " + " ".join(f"--{name} {value}" for name, value in row.items()) in text
        assert set(row) <= set(OPTIONS)
