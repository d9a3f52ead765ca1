"""Makes a copy of this repository whose training step busy-waits, to see it caught.

``python docs/evidence/slow_checkout.py 30% FOLDER`` copies what Git tracks to FOLDER and has every
training step wait, computing nothing, for 30 % of the time that it took until then. The call of
Python that waits costs time itself, so what it is compared with is a copy that waits for 0 %.
How much slower the step becomes is up to the machine; it can be more than the wait::

    python docs/evidence/slow_checkout.py 0% ../control
    python docs/evidence/slow_checkout.py 30% ../slow
    cnnprec ab --a-checkout ../control --b-checkout ../slow -- --precision single
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cnnprec.verdicts.verdict import parse_share

_REPOSITORY = Path(__file__).parents[2]

_LOSS = "        loss = super().compute_loss("
# Between the forward pass and the backward pass, both of which need it: nothing else of the
# step runs meanwhile, on whichever core.
_CALL = """\
        if training:
            waited = tf.numpy_function(_wait, [tf.cast(y_pred, tf.float32)], tf.float32)
            with tf.control_dependencies([waited]):
                y_pred = tf.identity(y_pred)
"""
_WAIT = """

_last = [time.perf_counter()]


def _wait(outputs):
    start = time.perf_counter()
    # The first step after a pause did not take all of it.
    step = min(start - _last[0], 0.5)
    while time.perf_counter() - start < {share} * step:
        pass
    _last[0] = time.perf_counter()
    return outputs.sum()
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
    path = folder / "cnnprec" / "training" / "model.py"
    text = path.read_text()
    if text.count(_LOSS) != 1:
        raise SystemExit(
            f"{path} is not as this script knows it: {_LOSS.strip()!r} is not there once"
        )
    text = text.replace(_LOSS, _CALL + _LOSS)
    text = text.replace("from typing import Any\n", "import time\nfrom typing import Any\n", 1)
    path.write_text(text + _WAIT.format(share=share))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
