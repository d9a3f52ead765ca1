"""A process that trains when it is told to: one line in, the number of steps; one line out.

The first line out is ``ready``, or why it cannot train. Needs nothing but the standard library,
because the processes belong to different environments.
"""

import os
import sys
import time
from collections.abc import Callable


def serve(prepare: Callable[[], Callable[[int], None]]) -> None:
    """Prepares, and then takes steps and answers with the seconds until the input ends.

    What `prepare` returns is called with a number of steps and returns when they are done.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # progress bars must not be taken for answers

    def answer(text: str) -> None:
        answers.write(f"{text}\n")
        answers.flush()

    try:
        take = prepare()
        take(2)  # compiles
    except Exception as error:  # whatever it is, the table shows it
        answer(f"{type(error).__name__}: {error}".splitlines()[0])
        return
    answer("ready")
    for line in sys.stdin:
        start = time.perf_counter()
        take(int(line))
        answer(str(time.perf_counter() - start))
