"""The command line: help, versions, exit codes."""

import pytest

import cnnprec
from cnnprec.ab import plan
from cnnprec.cli.main import main


def usage_error(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 4
    return capsys.readouterr().err


def helped(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--help"])
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_help_is_short_and_has_examples(capsys):
    text = helped(capsys)
    assert "cnnprec ab --b-checkout ../new" in text
    assert "cnnprec report benchmarks/" in text
    # A terminal's height.
    assert len(text.splitlines()) <= 24


@pytest.mark.parametrize("name", ["ab", "baseline", "compare", "history", "report", "scaling"])
def test_help_of_every_command_has_an_example(capsys, name):
    text = helped(capsys, name)
    example = text.lower().partition("example")[2]
    assert f"cnnprec {name} " in example


def test_no_command_shows_the_help(capsys):
    text = helped(capsys)
    assert main([]) == 0
    assert capsys.readouterr().out == text


def test_version_is_shown(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"cnnprec {cnnprec.__version__}\n"


def test_help_of_ab_explains_every_exit_code(capsys):
    text = helped(capsys, "ab")
    codes = text.partition("exit codes:")[2].strip().partition("\n\n")[0]
    listed = {int(line.split()[0]) for line in codes.splitlines()}
    assert listed == {int(code) for code in plan.Exit}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compore"], "compore"),
        (["--no-such"], "--no-such"),
        (["report"], "FILE"),
        (["ab", "--no-such"], "--no-such"),
        (["ab", "extra"], "extra"),
        (["ab", "--look=6"], "--look"),
        (["ab", "--looks=2"], "'2': give increasing numbers of pairs"),
        (["ab", "--margin=wide"], "wide"),
    ],
)
def test_bad_options_are_usage_errors(capsys, arguments, message):
    text = usage_error(capsys, *arguments)
    assert message in text
    assert "--help" in text


def test_errors_of_ab_are_messages_without_a_traceback(capsys, tmp_path):
    assert main(["ab", f"--a-checkout={tmp_path}"]) == 4
    text = capsys.readouterr().err
    assert text.startswith(f"cnnprec ab: --a-checkout {tmp_path}: no checkout")
