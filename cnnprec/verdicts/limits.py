"""How much growth is too much, for each metric and precision; read from a project's pyproject."""

import dataclasses
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cnnprec.precision.precisions import get_precision
from cnnprec.text import did_you_mean
from cnnprec.verdicts.verdict import GROWTHS, Limits, Metric, parse_share

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

DEFAULT_MEMORY = Limits(0.10, 0.25)  # the order of the benchmarks moves a peak by about 5 %

_METRICS = {metric.value: metric for metric in GROWTHS}
_FIELDS = tuple(field.name for field in dataclasses.fields(Limits))


@dataclasses.dataclass(frozen=True)
class LimitTable:
    """The limits of each metric, and of those precisions that have their own."""

    speed: Limits = dataclasses.field(default_factory=Limits)
    memory: Limits = DEFAULT_MEMORY
    own: Mapping[tuple[Metric, str], Limits] = dataclasses.field(default_factory=dict)

    def of(self, metric: Metric, precision: str) -> Limits:
        """The limits of a metric of a precision, whose name is empty for the process."""
        usual = self.memory if metric is Metric.MEMORY else self.speed
        return self.own.get((metric, precision), usual)

    def __str__(self) -> str:
        """All rows, such as ``"speed 3% to 10%; memory 10% to 25%; speed.half 5% to 15%"``."""
        rows = [("speed", self.speed), ("memory", self.memory)]
        rows += [(f"{metric}.{name}", limits) for (metric, name), limits in self.own.items()]
        return "; ".join(
            f"{key} {limits.tolerance * 100:g}% to {limits.margin * 100:g}%" for key, limits in rows
        )


def limit_table(limits: Limits | LimitTable | None) -> LimitTable:
    """The table that is meant: limits alone are those of all times."""
    if isinstance(limits, LimitTable):
        return limits
    return LimitTable() if limits is None else LimitTable(limits)


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
        raise ValueError(f"{path}: [tool.cnnprec]: {_unknown(name, known)}")
    return settings


def read_limits(path: Path, default: Limits) -> LimitTable:
    """Reads ``[tool.cnnprec.limits]``; ``default`` is that of other times. ValueError as above."""
    settings = read_settings(path)
    try:
        return parse_limits(settings.get("limits", {}), default)
    except ValueError as error:
        raise ValueError(f"{path}: [tool.cnnprec.limits]: {error}") from error


def parse_limits(plain: object, default: Limits) -> LimitTable:
    """Reads a table such as ``{"speed": {"margin": "15%"}, "speed.half": {"tolerance": 0.05}}``.

    What a row of a precision leaves out is that of its metric; what the row of a metric leaves out
    is the default. ValueError for any other key or value, or two rows about the same.
    """
    if not isinstance(plain, Mapping):
        raise ValueError(f'{plain!r} is no table; write rows such as speed = {{margin = "15%"}}')
    keys: dict[tuple[Metric, str], str] = {}
    for key in plain:
        if (first := keys.setdefault(_about(key), key)) != key:
            raise ValueError(f"{key!r} and {first!r} are about the same; keep one of them")
    table = LimitTable(default)
    # The metrics first: their precisions start from them.
    for (metric, name), key in sorted(keys.items(), key=lambda item: item[0][1] != ""):
        limits = _row(key, plain[key], table.of(metric, ""))
        own = {"own": {**table.own, (metric, name): limits}}
        changed: dict[str, Any] = own if name else {metric.value: limits}
        table = dataclasses.replace(table, **changed)
    return table


def _about(key: str) -> tuple[Metric, str]:
    metric, dot, name = key.partition(".")
    if metric not in _METRICS:
        also = 'and these with a precision, such as "speed.half"'
        raise ValueError(f"{_unknown(metric, _METRICS)}, {also}")
    try:
        return _METRICS[metric], get_precision(name).name if dot else ""
    except ValueError as error:
        raise ValueError(f"key {key!r}: {error}") from error


def _row(key: str, row: object, default: Limits) -> Limits:
    if not isinstance(row, Mapping) or not row:
        raise ValueError(
            f'{key} = {row!r}: write a table, such as {{tolerance = "3%", margin = "10%"}}'
        )
    try:
        for name in row:
            if name not in _FIELDS:
                quoted = f' For a precision, write the key in quotes: "{key}.{name}".'
                hint = quoted if isinstance(row[name], Mapping) else ""
                raise ValueError(f"{_unknown(name, _FIELDS)}.{hint}")
        shares = {name: parse_share(str(value)) for name, value in row.items()}
        return dataclasses.replace(default, **shares)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def _unknown(name: str, known: Iterable[str]) -> str:
    return f"unknown key {name!r}.{did_you_mean(name, known)} Accepted: {', '.join(known)}"
