"""Reading the limits of a project from its pyproject.toml."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from cnnprec.verdicts.limits import LimitTable, parse_limits
from cnnprec.verdicts.verdict import Limits

if sys.version_info >= (3, 11):
    import tomllib
else:  # pytest brings it
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]


def read_limits(path: Path, default: Limits) -> LimitTable:
    """Reads ``[tool.cnnprec.limits]`` of a pyproject.toml; ``default`` is that of other times.

    Raises:
        ValueError: The file cannot be read, or the table holds what is not accepted.
    """
    try:
        plain = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read: {error.strerror or error}. Give a pyproject.toml."
        ) from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise ValueError(f"{path}: is not valid TOML: {error}") from error
    tool = plain.get("tool", {})
    settings = tool.get("cnnprec", {}) if isinstance(tool, Mapping) else {}
    if not isinstance(settings, Mapping):
        raise ValueError(
            f"{path}: tool.cnnprec = {settings!r}: write a table [tool.cnnprec.limits]"
        )
    for name in sorted(set(settings) - {"limits"}):
        raise ValueError(f"{path}: [tool.cnnprec]: unknown key {name!r}. Accepted: limits")
    try:
        return parse_limits(settings.get("limits", {}), default)
    except ValueError as error:
        raise ValueError(f"{path}: [tool.cnnprec.limits]: {error}") from error
