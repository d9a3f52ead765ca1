"""Ten thousand sessions of a machine are read in less than 200 MB: what they share is kept once."""

import json
import tracemalloc

from cnnprec.records.read_sessions import read_session, read_sessions
from tests.support.sessions import NEWEST, changed, put

COUNT = 400


def test_sessions_that_have_most_in_common_take_little_memory(tmp_path):
    plain = changed()
    for number in range(COUNT):
        plain["cnnprec"]["order_seed"] = number
        for benchmark in plain["benchmarks"]:
            for entry in benchmark["extra_info"]["cnnprec"]["rounds"]:
                entry["seconds"] *= 1.001
        put(tmp_path / f"{number:05}_base.json", json.dumps(plain))
    tracemalloc.start()
    try:
        sessions, skipped = read_sessions(tmp_path)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(sessions), skipped) == (COUNT, ())
    assert held / COUNT < 200e6 / 10_000
    last = read_session(tmp_path / f"{COUNT - 1:05}_base.json")
    assert last.records == {s.path: s for s in sessions}[last.path].records


def test_what_is_shared_is_equal(tmp_path):
    """Sessions that differ keep their own: nothing is taken from another."""
    other = changed()
    record = other["benchmarks"][0]["extra_info"]["cnnprec"]
    record["environment"]["driver"] = "580.1"
    record["rounds"][0]["run"]["weights_sha256"] = "b" * 64
    put(tmp_path / "0001_a.json", NEWEST.read_text())
    put(tmp_path / "0002_b.json", other)
    for session in read_sessions(tmp_path)[0]:
        alone = read_session(session.path)
        assert repr(dict(session.records)) == repr(dict(alone.records))
