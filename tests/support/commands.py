"""Running a subcommand of ``cnnprec`` in a test."""

from cnnprec.cli.main import main


def run_command(capsys, command, *arguments):
    """The exit code of a subcommand, and what it wrote to stdout and stderr: no traceback."""
    try:
        code = main([command, *map(str, arguments)])
    except SystemExit as left:
        code = left.code
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return code, shown.out, shown.err
