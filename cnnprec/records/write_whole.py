"""Writing a file so that it is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Writes or replaces a file in one moment; at an OSError what was there is still there."""
    with written_beside(path.parent, text) as hidden:
        hidden.replace(path)


@contextlib.contextmanager
def written_beside(folder: Path, text: str) -> Iterator[Path]:
    """Gives a hidden file of the folder with this text, already on the disk, to be renamed."""
    hidden = folder / f".{secrets.token_hex(8)}.tmp"
    try:
        descriptor = create(hidden)
        try:
            rest = memoryview(text.encode())
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        yield hidden
    finally:
        with contextlib.suppress(OSError):
            hidden.unlink()


def create(path: Path) -> int:
    """Creates a file that does not exist yet, and returns its descriptor."""
    # 0o666: what the umask leaves of it, as for any other file. A baseline is shared.
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
