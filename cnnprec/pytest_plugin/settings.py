"""Options that the command line leaves out: ``[tool.cnnprec]`` of pyproject.toml, ``--level``."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from cnnprec.precision.precisions import parse_precisions
from cnnprec.pytest_plugin.session import usage_errors
from cnnprec.text import parse_time
from cnnprec.verdicts.limits import read_settings

LEVEL_ROWS: Mapping[str, Mapping[str, str]] = {
    "1": {"precision": "double,single,mixed_half,mixed_bfloat16", "runs": "1", "turns": "20"},
    "2": {"numerics": "full"},
    "3": {"numerics": "full", "soak": "8h"},
}
"""What each level sets, by the names of the options."""

_READ: Mapping[str, Callable[[str], object]] = {
    "precision": parse_precisions,
    "numerics": str,
    "soak": parse_time,
}


def level_help() -> str:
    """What each level sets, for ``--help``."""
    return "; ".join(
        " ".join([f"{level}:", *(f"--{name} {value}" for name, value in row.items())])
        for level, row in LEVEL_ROWS.items()
    )


def apply_level(option: Any) -> None:
    """Sets those options of the level that neither the command line nor pyproject.toml gives."""
    for name, value in LEVEL_ROWS.get(option.level, {}).items():
        if getattr(option, name) is None:
            setattr(option, name, _READ.get(name, int)(value))


def read(config: pytest.Config) -> Mapping[str, Any]:
    """The table ``[tool.cnnprec]`` of the project."""
    with usage_errors():
        return read_settings(config.rootpath / "pyproject.toml")


def checked(value: object, attributes: Mapping[str, Any]) -> object:
    """The value of a setting, as the command line would read it; ValueError if it would not."""
    if isinstance(value, bool) is not (attributes.get("action") == "store_true"):
        wanted = "the value of the option" if isinstance(value, bool) else "true or false"
        raise ValueError(f"give {wanted}")
    if isinstance(value, bool):
        return value
    try:
        found = attributes.get("type", str)(str(value))
    except Exception as error:  # argparse's own, which is no ValueError
        raise ValueError(str(error)) from error
    if found not in attributes.get("choices", [found]):
        raise ValueError(f"give one of {', '.join(attributes['choices'])}")
    return found
