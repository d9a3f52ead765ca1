"""Which version of this project's code runs."""

import hashlib
import subprocess
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def code_digest() -> str:
    """Digest of this project's source files: the package, and the benchmarks beside it."""
    digest = hashlib.sha256()
    for folder in (_PACKAGE, _PACKAGE.parent / "benchmarks"):
        for path in sorted(folder.rglob("*.py")):
            name = path.relative_to(folder.parent).as_posix()
            digest.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def commit() -> str | None:
    """The commit of the package's own Git repository, ``-dirty`` if a file was changed, or None."""
    if not (_PACKAGE.parent / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],  # noqa: S607
            cwd=_PACKAGE,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
