"""Finding saved sessions: which files of a folder are meant, by name, number or pattern."""

import contextlib
import fnmatch
import re
from pathlib import Path

_NUMBERED = re.compile(r"(\d{4,})_(.+)")


def session_files(folder: Path) -> list[Path]:
    """All JSON files, one level of subfolders included; links to one folder are one folder.

    A subfolder that cannot be listed stands in their place, so that who reads them names it.
    """
    if not folder.exists():
        return []
    entries = sorted(folder.iterdir())
    below: list[Path] = []
    seen = {folder.resolve()}
    # A folder's own name counts before those of the links to it.
    for entry in sorted((e for e in entries if e.is_dir()), key=Path.is_symlink):
        place = entry.resolve()
        if place not in seen:
            seen.add(place)
            try:
                below += [file for file in entry.iterdir() if file.suffix == ".json"]
            except OSError:
                below.append(entry)
    return [entry for entry in entries if entry.suffix == ".json"] + sorted(below)


def matching_files(folder: Path, pattern: str | None) -> list[Path]:
    """Those of `session_files` that a pattern of `read_sessions` means."""
    if not pattern:
        return session_files(folder)
    number = None
    if re.fullmatch("[0-9]+", pattern):
        number = pattern.lstrip("0") or "0"  # it may have more digits than int takes
    else:
        with contextlib.suppress(OSError):  # a glob may be longer than a name can be
            if Path(pattern).is_file():
                return [Path(pattern)]

    def fits(path: Path) -> bool:
        own, name = numbered(path)
        if number is not None:
            return str(own) == number
        places = (path.name, path.relative_to(folder).as_posix())
        begun = any(fnmatch.fnmatchcase(place, f"{pattern}*") for place in places)
        return begun or fnmatch.fnmatchcase(name, pattern)

    # What has another suffix is a folder that cannot be listed.
    return [path for path in session_files(folder) if path.suffix != ".json" or fits(path)]


def numbered(path: Path) -> tuple[int | None, str]:
    """Number and name that ``--benchmark-save`` gave to a file; of any other None and its stem."""
    found = _NUMBERED.fullmatch(path.stem)
    return (int(found[1]), found[2]) if found else (None, path.stem)
