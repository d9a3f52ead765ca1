"""Numbers that JSON does not have, as words that any reader of JSON accepts."""

import math
from typing import Any

_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def encode(value: Any) -> Any:
    """A value of JSON types in which NaN and infinities are ``"nan"``, ``"inf"``, ``"-inf"``."""
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def decode(value: Any) -> Any:
    """One number that `encode` wrote; what is no such word stays as it is."""
    return _WORDS.get(value, value) if isinstance(value, str) else value
