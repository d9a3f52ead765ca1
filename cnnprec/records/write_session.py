"""Saving a session: whole or not at all, under a number of its own."""

import contextlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cnnprec.records.json_numbers import encode
from cnnprec.records.session_files import numbered, session_files
from cnnprec.records.write_whole import create, written_beside
from cnnprec.text import printable

# What pytest-benchmark refuses in --benchmark-save, for files that any system can hold.
_NOT_IN_A_NAME = re.compile(r'[\\/:*?<>|"]')
_COMMON = ("config", "data", "environment")  # fields that records of one session rarely differ in
_LONGEST_NAME = 200  # bytes; with the number and the suffix a file name may have 255


class SaveError(ValueError):
    """A session could not be saved; the message names the folder, the reason, the remedy."""


def write_session(folder: Path, name: str, output: Mapping[str, Any]) -> Path:
    """Saves a session under the next free number, whole or not at all.

    The text is on the disk, in a hidden file, before it gets its name. The number is claimed with
    a second hidden file, which only one process can create. Numbers in subfolders are taken too.
    Returns the file, ``NNNN_name.json``, or raises a SaveError.
    """
    check_name(name)
    plain = encode(output)
    cpu = (plain.get("machine_info") or {}).get("cpu")
    if isinstance(cpu, dict):
        cpu.pop("flags", None)  # nobody reads them again
    try:
        # str: a parameter that is a Precision becomes its name.
        text = json.dumps(plain, default=str, separators=(",", ":"))
    except (ValueError, TypeError) as error:
        raise SaveError(
            f"the session cannot be saved as JSON: {error}. Only plain types are accepted."
        ) from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with written_beside(folder, f"{text}\n") as hidden:
            return _publish(hidden, folder, name)
    except OSError as error:
        raise SaveError(
            f"the session cannot be saved in {folder}: {error.strerror or error}. Make room or "
            "permit writing there, or give another folder with --benchmark-storage=file://DIR."
        ) from error


def take_common(benchmarks: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Takes out of the records of a session's benchmarks what all repeat, and returns it."""
    entries = [entry for entry in benchmarks if "cnnprec" in entry["extra_info"]]
    records = [entry["extra_info"]["cnnprec"] for entry in entries]
    common = {
        name: records[0][name]
        for name in _COMMON
        if records and all(record[name] == records[0][name] for record in records)
    }
    for entry, record in zip(entries, records, strict=True):
        own = {name: value for name, value in record.items() if name not in common}
        entry["extra_info"] = {**entry["extra_info"], "cnnprec": own}
    return common


def check_name(name: str) -> None:
    """Refuses what cannot be part of a file name, by a SaveError."""
    held = name.isprintable() and not _NOT_IN_A_NAME.search(name)
    if not name or not held or len(name.encode()) > _LONGEST_NAME:
        raise SaveError(
            f"--benchmark-save={printable(name)[:_LONGEST_NAME]}: a file name cannot hold it. Use "
            f"letters, digits, '-', '_' and '.', {_LONGEST_NAME} at most."
        )


def _publish(hidden: Path, folder: Path, name: str) -> Path:
    number = max(_numbers(folder), default=0)
    while True:
        number += 1
        claim = folder / f".{number:04}.claim"
        try:
            os.close(create(claim))
        except FileExistsError:
            continue
        try:
            # Looked at again: it may have been claimed, used and released since the first
            # look. While the claim is held nobody else can use the number, so a rename is
            # safe. Unlike a hard link it works on every file system.
            if number in _numbers(folder):
                continue
            path = folder / f"{number:04}_{name}.json"
            hidden.rename(path)
        finally:
            with contextlib.suppress(OSError):
                claim.unlink()
        with contextlib.suppress(OSError):  # The session is saved; this only makes it last.
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        return path


def _numbers(folder: Path) -> set[int]:
    return {numbered(path)[0] or 0 for path in session_files(folder)}
