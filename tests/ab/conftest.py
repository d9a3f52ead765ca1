"""Two sides to compare."""

import importlib.util
from pathlib import Path

import pytest

from cnnprec.ab.processes import Children, environment_in
from tests.support.ab import Bench


@pytest.fixture
def real(tmp_path, usual_signals) -> Bench:
    """A bench whose stand-ins are processes."""
    return Bench(tmp_path)


@pytest.fixture
def bench(real, monkeypatch) -> Bench:
    """The bench, whose stand-ins are called inside this process."""
    spec = importlib.util.spec_from_file_location("stand_in", real.folder / "stand_in.py")
    stand_in = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stand_in)

    def play(self, command, checkout, output, seconds=None):
        self.check()
        side = Path(command[0]).parent.name.upper()
        return stand_in.main(
            side,
            command[1:],
            checkout,
            environment_in(checkout),
            lambda line: output.write(f"{line}\n".encode()),
        )

    monkeypatch.setattr(Children, "run", play)
    return real
