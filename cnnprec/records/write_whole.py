"""Writing a file so that it is there whole or not at all."""

import contextlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# What a process that was killed leaves, of this module and of `write_session`.
_LEFT = re.compile(r"\.[0-9a-f]{16}\.tmp|\.[0-9]{4,}\.claim")
_STALE_SECONDS = 86_400.0  # one that is at work, or was stopped over night, has it for less


def write_whole(path: Path, text: str) -> None:
    """Writes or replaces a file in one moment; at an OSError what was there is still there."""
    with written_beside(path.parent, text) as hidden:
        hidden.replace(path)


def write_json(path: Path, plain: Mapping[str, Any]) -> None:
    """`write_whole` for JSON types without NaN and infinities."""
    write_whole(path, json.dumps(plain, indent=1, allow_nan=False) + "\n")


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
            _clean(folder, os.fstat(descriptor).st_mtime)
        finally:
            os.close(descriptor)
        yield hidden
    finally:
        with contextlib.suppress(OSError):
            hidden.unlink()


def _clean(folder: Path, now: float) -> None:
    """Removes what was left there long before `now`, which is by the file system's own clock."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            ours = _LEFT.fullmatch(path.name) and path.is_file()
            if ours and now - path.stat().st_mtime > _STALE_SECONDS:
                path.unlink(missing_ok=True)


def create(path: Path) -> int:
    """Creates a file that does not exist yet, and returns its descriptor."""
    # 0o666: what the umask leaves of it, as for any other file. A baseline is shared.
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
