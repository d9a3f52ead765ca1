"""A wall clock that jumps is noticed, and dates in the future are named."""

import time
from datetime import datetime, timedelta, timezone

import pytest

from cnnprec.cli.main import main
from tests.support import sessions

JUMP = """
import time

import pytest

now = time.time


@pytest.hookimpl(trylast=True)
def pytest_collection_finish():
    time.time = lambda: now() + {seconds}
"""


@pytest.mark.parametrize(
    ("seconds", "said"), [(7200, "forward by 2 h 00 min"), (-90, "back by 1 min 30 s"), (1, None)]
)
def test_jump_of_the_wall_clock_is_said_above_results(project, monkeypatch, seconds, said):
    monkeypatch.setattr(time, "time", time.time)  # to be put back
    project.pytester.makepyfile(jump=JUMP.format(seconds=seconds))
    project.pytester.syspathinsert()
    result = project.run("-p", "jump", "--precision=single", "--benchmark-save=x")
    text = result.stdout.str()
    assert result.ret == 0
    assert text.count("CLOCK: ") == (said is not None)
    if said:
        line = f"CLOCK: the wall clock jumped {said} during this session."
        assert 0 < text.index(line) < text.index("= RESULTS =")


def test_dates_in_the_future_are_named(saved, capsys):
    ahead = datetime.now(timezone.utc) + timedelta(days=400)
    path = saved.files()[2]
    saved.edit(path, lambda plain: plain.update(datetime=ahead.isoformat()))
    line = f"{path.name}: its date {ahead:%Y-%m-%d %H:%M} UTC is in the future"
    text = " ".join(saved.compare().stdout.str().split())
    assert text.count("is in the future") == 1
    assert line in text
    assert main(["history", str(saved.folder)]) == 0
    assert line in capsys.readouterr().err
    old, new = saved.files()[:3], saved.files()[3]
    main(["compare", *map(str, old), "--", str(new)])
    assert line in capsys.readouterr().out


def test_dates_of_the_past_are_not_named(tmp_path, capsys):
    sessions.put(tmp_path / "0001_a.json", sessions.TEXT)
    main(["history", str(tmp_path)])
    assert "future" not in "".join(capsys.readouterr())
