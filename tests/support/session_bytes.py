"""How large a saved benchmark is."""

import copy
from pathlib import Path
from typing import Any

from cnnprec.records.write_session import take_common, write_session

MOST_BYTES = 6_500
"""A saved benchmark stays below this: eight and their verdicts, 8 kB, stay below 60 kB."""


def benchmark_bytes(folder: Path, output: dict[str, Any]) -> dict[str, int]:
    """What each benchmark adds to the file of a session, by its name."""

    output = copy.deepcopy(output)
    output["cnnprec"]["common"] = take_common(output["benchmarks"])

    def size(benchmarks: list[Any]) -> int:
        path = write_session(folder, "size", {**output, "benchmarks": benchmarks})
        size = path.stat().st_size
        path.unlink()
        return size

    return {
        benchmark["name"]: size([benchmark] * 2) - size([benchmark])
        for benchmark in output["benchmarks"]
    }
