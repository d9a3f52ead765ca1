"""What cannot end well is refused before training, with a message and no traceback."""

import pytest

from cnnprec.pytest_plugin import saving


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--benchmark-save=" + "x" * 300, "a file name cannot hold it"),
        ("--benchmark-save=a\nb", "--benchmark-save=a\\nb: a file name cannot hold it"),
        ("--benchmark-compare=" + "9" * 5000, "NO_BASELINE: there are no saved sessions"),
        ("--train-samples=1000000000000", "--train-samples 1000000000000: must be at most"),
        ("--train-samples=1000000000", "of memory"),
        ("--epochs=1" + "0" * 30, "must be at most 1000000000"),
    ],
)
def test_option_that_cannot_end_well_is_refused(saved, option, message):
    assert message in saved.refused("--precision=single", option)


def test_names_of_every_usual_kind_are_saved(saved):
    name = "é" * 60 + "-" * 70 + ".9 b"
    assert saved.run("--precision=single", f"--benchmark-save={name}").ret == 0
    assert (saved.folder / f"0007_{name}.json").exists()


def test_storage_that_cannot_be_listed_is_refused(saved, monkeypatch):
    def listdir(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(saving.os, "listdir", listdir)
    text = saved.refused("--precision=single", "--benchmark-save=x")
    assert "cannot be written and listed" in text
    assert "Permission denied" in text
