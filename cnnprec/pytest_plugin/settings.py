"""The options that a project sets in ``[tool.cnnprec]`` of its pyproject.toml."""

from collections.abc import Mapping
from typing import Any

import pytest

from cnnprec.pytest_plugin.session import usage_errors
from cnnprec.verdicts.limits import read_settings


def read(config: pytest.Config) -> Mapping[str, Any]:
    """The table ``[tool.cnnprec]`` of the project."""
    path = config.rootpath / "pyproject.toml"
    with usage_errors():
        return read_settings(path) if path.is_file() else {}


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
