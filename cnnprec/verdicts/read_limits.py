"""Reading the settings of a project from its pyproject.toml."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnnprec.text import did_you_mean
from cnnprec.verdicts.limits import LimitTable, parse_limits
from cnnprec.verdicts.verdict import Limits

if sys.version_info >= (3, 11):
    import tomllib
else:  # pytest brings it
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]


OPTIONS = (
    *("precision", "profile", "epochs", "runs", "batch-size", "train-samples", "turns"),
    *("dataset", "data-dir", "device", "jit", "strategy", "numerics", "soak", "level"),
    *("order-seed", "device-limits", "report", "vary", "require-verdict", "verdict-json"),
    *("tolerance", "margin", "detect"),
)
"""The options of the pytest plugin, each of which may be a key of ``[tool.cnnprec]``."""


def read_settings(path: Path) -> Mapping[str, Any]:
    """Reads ``[tool.cnnprec]``: some of `OPTIONS`, and ``limits``; none without a file.

    ValueError for what it may not hold.
    """
    try:
        plain = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read: {error.strerror or error}. Give a pyproject.toml."
        ) from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise ValueError(f"{path}: is not valid TOML: {error}") from error
    tool = plain.get("tool", {})
    settings = tool.get("cnnprec", {}) if isinstance(tool, Mapping) else {}
    if not isinstance(settings, Mapping):
        raise ValueError(f"{path}: tool.cnnprec = {settings!r}: write a table [tool.cnnprec]")
    known = (*OPTIONS, "limits")
    for name in sorted(set(settings) - set(known)):
        raise ValueError(
            f"{path}: [tool.cnnprec]: unknown key {name!r}.{did_you_mean(name, known)} "
            f"Accepted: {', '.join(known)}"
        )
    return settings


def read_limits(path: Path, default: Limits) -> LimitTable:
    """Reads ``[tool.cnnprec.limits]``; ``default`` is that of other times. ValueError as above."""
    settings = read_settings(path)
    try:
        return parse_limits(settings.get("limits", {}), default)
    except ValueError as error:
        raise ValueError(f"{path}: [tool.cnnprec.limits]: {error}") from error
