"""A finished comparison for programs: the JSON of ``--verdict-json`` and of saved sessions."""

import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cnnprec.records.json_numbers import encode
from cnnprec.records.write_whole import write_json
from cnnprec.verdicts.verdict import Comparison

VERSION = 1  # version of the layout of the file


def judgements(comparison: Comparison) -> list[dict[str, Any]]:
    """All judgements as JSON types, with the figures of those that have some."""
    words = ("metric", "precision", "verdict", "reason", "quantity")
    figures = ("ratio", "low", "high", "detectable", "count")
    return [
        {
            **{name: str(getattr(j, name)) for name in words},
            **{name: encode(getattr(j.estimate, name, None)) for name in figures},
        }
        for j in comparison.judgements
    ]


def holds_verdict(content: bytes) -> bool:
    """Whether this is the content of a file of `write_verdict`."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return False
    # What no other file of the suite has together.
    return isinstance(found, dict) and found.keys() >= {"version", "basis", "judgements"}


def make_way(path: Path, what: str, is_ours: Callable[[bytes], bool]) -> None:
    """Removes the result of an earlier run, which would say PASS where this run has no verdict.

    ValueError where the folder cannot be written, or something else of this name is there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
        content = path.read_bytes() if path.is_file() else None
        if path.exists() and not (content == b"" or (content and is_ours(content))):
            raise ValueError(f"{path} is there and holds no {what}; give another name")
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ValueError(
            f"{path} cannot be written: {error.strerror or error}. Make its folder writable or "
            "give a file elsewhere."
        ) from error


def write_verdict(
    path: Path, comparison: Comparison, baseline: Iterable[Path], session: Path | None
) -> None:
    """Writes the result, the files compared with and the one judged; OSError where it cannot."""
    plain = {
        "version": VERSION,
        "verdict": comparison.verdict.value,
        "basis": comparison.basis,
        "changed": [
            {"name": d.name, "baseline": d.baseline, "current": d.current}
            for d in comparison.changed
        ],
        "judgements": judgements(comparison),
        "baseline": [str(other) for other in baseline],
        "session": None if session is None else str(session),
    }
    write_json(path, plain)
