"""Opening files of which only the name is known: regular ones, and nothing that waits."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path) -> BinaryIO:
    """Opens a file for reading; OSError if it cannot be opened or is no regular file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        what = os.strerror(number) if stat.S_ISDIR(mode) else "it is no regular file"
        raise OSError(number, what, str(path))
    return open(descriptor, "rb")  # noqa: PTH123 - a descriptor


def read_regular(path: Path, most: int) -> bytes:
    """The content of a regular file; OSError if it cannot be read or has more bytes."""
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most / 1e6:g} MB", str(path))
    return content
