"""Makes a copy of this repository whose training step busy-waits, to see it caught.

``python docs/evidence/slow_checkout.py 30% FOLDER`` copies what Git tracks to FOLDER and has every
training step wait, computing nothing, for 30 % of the time that it took until then. Then::

    cnnprec ab --a-checkout . --b-checkout FOLDER -- --precision single
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cnnprec.compare import parse_share

_REPOSITORY = Path(__file__).parents[2]

_NOTE = "        row = tf.stack("
_CALL = "        loss = tf.numpy_function(_wait, [tf.cast(loss, tf.float32)], tf.float32)\n"
_WAIT = """

_last = [time.perf_counter()]


def _wait(loss):
    start = time.perf_counter()
    # The first step after a pause did not take all of it.
    step = min(start - _last[0], 0.5)
    while time.perf_counter() - start < {share} * step:
        pass
    _last[0] = time.perf_counter()
    return loss
"""


def main(arguments: list[str]) -> int:
    """Makes the copy; returns the exit code."""
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)  # noqa: T201
        return 4
    share, folder = parse_share(arguments[0]), Path(arguments[1])
    if folder.exists():
        print(f"{folder} exists; name a new folder", file=sys.stderr)  # noqa: T201
        return 4
    folder.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "archive", "HEAD"],  # noqa: S607
        cwd=_REPOSITORY,
        check=True,
        capture_output=True,
    )
    subprocess.run(["tar", "-x"], cwd=folder, input=archive.stdout, check=True)  # noqa: S607
    path = folder / "cnnprec" / "steps.py"
    text = path.read_text()
    if text.count(_NOTE) != 1:
        raise SystemExit(
            f"{path} is not as this script knows it: {_NOTE.strip()!r} is not there once"
        )
    text = text.replace(_NOTE, _CALL + _NOTE)
    text = text.replace("from typing import Any\n", "import time\nfrom typing import Any\n", 1)
    path.write_text(text + _WAIT.format(share=share))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
