"""A pytest session on a terminal of its own."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path


class TerminalSession:
    """A pytest session of its own process on a terminal of its own."""

    def __init__(self, path: Path, *arguments: str, width: int = 80) -> None:
        self._ours, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, width, 0, 0))
        self.process = subprocess.Popen(
            [*(sys.executable, "-m", "pytest", "benchmarks", "-p", "no:cacheprovider"), *arguments],
            cwd=path,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
        )
        os.close(terminal)
        self.text = ""

    def read_until(self, pattern: str) -> None:
        """Reads until the pattern was shown; fails if the session ends without it."""
        while not re.search(pattern, self.text):
            assert self._read(), f"{pattern!r} was never shown:\n{self.text}"

    def read_to_end(self) -> int:
        """Returns the exit code."""
        while self._read():
            pass
        os.close(self._ours)
        return self.process.wait()

    def end(self) -> None:
        """Leaves no process behind, whatever happened."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _read(self) -> bool:
        try:
            chunk = os.read(self._ours, 65536)
        except OSError:  # the terminal is closed with the last process that had it open
            return False
        self.text += chunk.decode(errors="replace")
        return bool(chunk)

    def lines(self) -> list[str]:
        """What was shown, without colours; the last 23 lines are on the screen at the end."""
        plain = re.sub(r"\x1b\[[\d;]*\w", "", self.text)
        return re.sub(r"\r+\n", "\n", plain).splitlines()
