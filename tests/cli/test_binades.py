"""The command ``cnnprec binades``."""

import pytest

from cnnprec.ab.plan import Exit
from cnnprec.cli.main import main
from cnnprec.diagnosis import snapshots
from cnnprec.diagnosis.histograms import Kind
from cnnprec.measurement import supported

pytest.importorskip("matplotlib", reason="needs the extra cnnprec[plot]")


def test_command_writes_the_figure_and_prints_its_table(tmp_path, capsys):
    out = tmp_path / "x.png"
    assert (
        main(["binades", "--out", str(out), "--precision", "fp16", "--dataset", "synthetic"]) == 0
    )
    assert out.read_bytes().startswith(b"\x89PNG")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "synthetic from generated, batch 32, after step 0"
    rows = [row.split("float16")[0].split(maxsplit=1) for row in lines[3:-2]]
    assert [(name, kind.strip()) for name, kind in rows] == [
        ("half", str(kind)) for kind in Kind if kind is not Kind.SCALED_GRADIENTS
    ]
    assert lines[-1] == f"wrote {out}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--steps", "0"], "--steps 0: must be 1 to 1000"),
        (["--steps", "1001"], "--steps 1001: must be 1 to 1000"),
        (["--precision", "hafl"], "Did you mean 'half'?"),
        (["--out", "x.mp3"], "--out x.mp3: no kind of picture"),
        (["--out", "x"], ".png"),
        (["--out", "no/such/x.png"], "there is no folder no/such; make it"),
        (["--data-dir", "nowhere", "--dataset", "fashion-mnist"], "nowhere"),
        (["--dataset", "mnist"], "invalid choice: 'mnist'"),
    ],
)
def test_command_refuses_bad_input_before_training(change, message, monkeypatch, capsys):
    monkeypatch.setattr(snapshots, "collect", None)
    try:
        code = main(["binades", "--out", "x.png", *change])
    except SystemExit as left:
        code = left.code
    assert code == Exit.USAGE
    assert message in capsys.readouterr().err


def test_command_refuses_a_folder_as_its_file(tmp_path, capsys):
    (tmp_path / "x.png").mkdir()
    assert main(["binades", "--out", str(tmp_path / "x.png")]) == Exit.USAGE
    assert "is a folder; name a file in it" in capsys.readouterr().err


def test_command_refuses_tf32_where_the_device_has_none(monkeypatch, capsys):
    monkeypatch.setattr(supported, "query_gpus", lambda: ())
    monkeypatch.setattr(snapshots, "collect", None)
    assert main(["binades", "--out", "x.png", "--precision", "tf32"]) == Exit.USAGE
    assert "--precision tf32: this device cannot compute in it" in capsys.readouterr().err
