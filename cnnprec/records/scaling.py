"""The file of a scaling study: what was measured of each precision, width and batch size."""

import dataclasses
from pathlib import Path
from typing import Annotated

import msgspec

from cnnprec.files import read_regular
from cnnprec.records.write_whole import write_json
from cnnprec.text import printable

_MOST_BYTES = 100_000_000  # a point takes about 1,000


@dataclasses.dataclass(frozen=True)
class Point:
    """One precision at one width and batch size."""

    precision: str
    width: int
    batch: int
    step_seconds: tuple[Annotated[float, msgspec.Meta(ge=1e-9, le=1e9)], ...] = ()  # of each turn
    peak_memory_bytes: int | None = None  # as a record's
    missing: str = ""  # why it was not measured


@dataclasses.dataclass(frozen=True)
class Study:
    """All points that were measured under the same conditions, such as the machine."""

    conditions: dict[str, str]
    points: tuple[Point, ...] = ()

    def of(self, width: int, batch: int) -> dict[str, Point]:
        """The points at a width and batch size by the precision; empty if not yet measured."""
        return {p.precision: p for p in self.points if (p.width, p.batch) == (width, batch)}


def read_study(path: Path, conditions: dict[str, str]) -> Study:
    """The study so far, empty without a file; ValueError if it is another one's, torn, or none."""
    try:
        study = msgspec.json.decode(read_regular(path, _MOST_BYTES), type=Study)
    except FileNotFoundError:
        return Study(conditions)
    except (ValueError, RecursionError, msgspec.DecodeError) as error:
        raise ValueError(
            f"{path}: not a whole file of cnnprec scaling ({printable(str(error))}). Choose "
            "another file, or delete this one to measure it again."
        ) from error
    changed = [
        f"{name} {printable(study.conditions.get(name, 'none'))}, now {value}"
        for name, value in conditions.items()
        if study.conditions.get(name) != value
    ]
    if words := "; ".join(changed):
        raise ValueError(f"{path}: was measured with {words}. Choose another file.")
    return study


def write_study(path: Path, study: Study) -> None:
    """Writes or replaces the file in one moment."""
    write_json(path, msgspec.to_builtins(study))
