"""How large a saved benchmark is."""

from pathlib import Path
from typing import Any

from cnnprec.records.write_session import write_session

MOST_BYTES = 20_000
"""A saved benchmark stays below this in every profile; `write_session` refuses none."""


def benchmark_bytes(folder: Path, output: dict[str, Any]) -> dict[str, int]:
    """What each benchmark adds to the file of a session, by its name."""

    def size(benchmarks: list[Any]) -> int:
        path = write_session(folder, "size", {**output, "benchmarks": benchmarks})
        size = path.stat().st_size
        path.unlink()
        return size

    return {
        benchmark["name"]: size([benchmark] * 2) - size([benchmark])
        for benchmark in output["benchmarks"]
    }
