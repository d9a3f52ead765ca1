"""Options of a project: ``[tool.cnnprec]`` of its pyproject.toml."""

import pytest

from cnnprec.cli.main import main
from cnnprec.verdicts.limits import OPTIONS

COMPARED = ("--precision=single,half", "--benchmark-compare")


def settings(project, text: str) -> None:
    (project.path / "pyproject.toml").write_text(f"[tool.cnnprec]\n{text}\n")


def header(project, *arguments: str) -> str:
    result = project.pytester.runpytest_inprocess(
        "benchmarks", "-p", "no:cacheprovider", "--collect-only", "--device=cpu", *arguments
    )
    assert result.ret == 0
    return result.stdout.str()


def test_every_option_of_the_plugin_can_be_set(project, pytestconfig):
    config = project.pytester.parseconfig("benchmarks")
    group = config._parser.getgroup("cnnprec")
    names = {name.removeprefix("--") for option in group.options for name in option.names()}
    assert names == set(OPTIONS)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("runs = 7", "x 7 runs"),
        ('profile = "notebook"', "profile notebook"),
        ('precision = "single,fp16"', "precisions: single,half\n"),
        ('dataset = "synthetic"', "dataset: the SYNTHETIC stand-in"),
        ("order-seed = 4321", "order seed 4321"),
    ],
)
def test_setting_holds_where_the_command_line_says_nothing(project, text, shown):
    assert shown not in header(project)
    settings(project, text)
    assert shown in header(project)


def test_command_line_wins_even_with_the_usual_value(project):
    settings(project, 'profile = "notebook"\nruns = 7')
    text = header(project, "--profile=quick", "--runs=2")
    assert "profile quick" in text
    assert "x 2 runs" in text


def test_setting_about_verdicts_does_not_refuse_a_session_without_them(saved):
    settings(saved, "require-verdict = true")
    assert saved.run("--precision=single,half").ret == 0
    for path in saved.files()[3:]:
        path.unlink()
    assert "--require-verdict: 3 sessions; 5 are needed" in saved.refused(*COMPARED)
    settings(saved, "require-verdict = false")
    assert saved.compare().ret == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run = 7", "unknown key 'run'. Did you mean 'runs'?"),
        ('runs = "many"', "runs = 'many': invalid literal for int()"),
        ("runs = true", "runs = True: give the value of the option"),
        ("runs = 0", "--runs 0: must be at least 1"),
        ('profile = "fast"', "profile = 'fast': give one of quick, notebook"),
        ('precision = "float8"', "precision = 'float8': unknown precision 'float8'"),
        ('require-verdict = "yes"', "require-verdict = 'yes': give true or false"),
        ('tolerance = "wide"', "tolerance = 'wide': 'wide' is not a share"),
    ],
)
def test_bad_setting_is_refused_by_name_and_value(project, text, message):
    settings(project, text)
    result = project.pytester.runpytest_inprocess("benchmarks", "-p", "no:cacheprovider")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in " ".join(result.stderr.str().split())


def test_compare_refuses_an_unknown_setting_and_passes_over_known_ones(saved, monkeypatch, capsys):
    monkeypatch.chdir(saved.path)
    *old, new = map(str, saved.files())
    settings(saved, "runs = 7")
    assert main(["compare", *old, "--", new]) == 0
    settings(saved, "rums = 7")
    assert main(["compare", *old, "--", new]) == 4
    assert "unknown key 'rums'. Did you mean 'runs'?" in capsys.readouterr().err
