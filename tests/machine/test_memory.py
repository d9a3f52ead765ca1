import gc
import mmap
import sys

import pytest

from cnnprec.machine import memory

MEGABYTE = 1 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux' /proc")
def test_peak_holds_what_was_taken_and_given_back_since_the_reset():
    assert memory.reset_peak_resident()
    before = memory.peak_resident_bytes()
    # Mapped, not taken from the heap, which may keep it when it is given back.
    with mmap.mmap(-1, 64 * MEGABYTE) as block:
        block.write(b"x" * len(block))
    grown = memory.peak_resident_bytes()
    assert grown - before > 32 * MEGABYTE
    assert memory.reset_peak_resident()
    assert memory.peak_resident_bytes() < grown - 32 * MEGABYTE


def test_system_that_does_not_tell_gives_none(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "missing")
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "no folder" / "missing")
    assert memory.peak_resident_bytes() is None
    assert not memory.reset_peak_resident()


def test_collector_is_away_and_comes_back_only_if_it_was_there():
    assert gc.isenabled()
    with pytest.raises(KeyError), memory.without_collection():
        assert not gc.isenabled()
        with memory.without_collection():
            pass
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()
