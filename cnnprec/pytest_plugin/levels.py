"""The levels of ``--level``: shorthand for other options."""

from collections.abc import Mapping
from typing import Any

from cnnprec.precision.precisions import parse_precisions
from cnnprec.text import parse_time

ROWS: Mapping[str, Mapping[str, str]] = {
    "1": {"precision": "double,single,mixed_half,mixed_bfloat16", "runs": "1", "turns": "20"},
    "2": {"numerics": "full"},
    "3": {"numerics": "full", "soak": "8h"},
}
"""What each level sets, by the names of the options."""

_READ = {"precision": parse_precisions, "numerics": str, "soak": parse_time}


def level_help() -> str:
    """What each level sets, for ``--help``."""
    return "; ".join(
        " ".join([f"{level}:", *(f"--{name} {value}" for name, value in row.items())])
        for level, row in ROWS.items()
    )


def apply_level(option: Any) -> None:
    """Sets those options of the level that neither the command line nor pyproject.toml gives."""
    for name, value in ROWS.get(option.level, {}).items():
        if getattr(option, name) is None:
            read: Any = _READ.get(name, int)
            setattr(option, name, read(value))
