"""How much growth is too much, for each metric and precision."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from cnnprec.precision.precisions import get_precision
from cnnprec.text import did_you_mean
from cnnprec.verdicts.verdict import GROWTHS, Limits, Metric, parse_share

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


def parse_limits(plain: object, default: Limits) -> LimitTable:
    """Reads a table such as ``{"speed": {"margin": "15%"}, "speed.half": {"tolerance": 0.05}}``.

    What a row of a precision leaves out is that of its metric; what the row of a metric leaves out
    is the default. ValueError for any other key or value, or two rows about the same.
    """
    if not isinstance(plain, Mapping):
        raise ValueError(f'{plain!r} is no table; write rows such as speed = {{margin = "15%"}}')
    rows = {key: _key(key) for key in plain}
    seen: dict[tuple[Metric, str], str] = {}
    for key, about in rows.items():
        if seen.setdefault(about, key) != key:
            raise ValueError(f"{key!r} and {seen[about]!r} are about the same; keep one of them")
    table = LimitTable(default)
    # The metrics first: their precisions start from them.
    for key, (metric, name) in sorted(rows.items(), key=lambda item: item[1][1] != ""):
        limits = _row(key, plain[key], table.of(metric, ""))
        own = {"own": {**table.own, (metric, name): limits}}
        changed: dict[str, Any] = own if name else {metric.value: limits}
        table = dataclasses.replace(table, **changed)
    return table


def _key(key: str) -> tuple[Metric, str]:
    metric, dot, name = key.partition(".")
    if metric not in _METRICS:
        raise ValueError(
            f"unknown key {key!r}.{did_you_mean(metric, _METRICS)} Accepted: "
            f'{", ".join(_METRICS)}, and these with a precision, such as "speed.half"'
        )
    if not dot:
        return _METRICS[metric], ""
    try:
        return _METRICS[metric], get_precision(name).name
    except ValueError as error:
        raise ValueError(f"key {key!r}: {error}") from error


def _row(key: str, row: object, default: Limits) -> Limits:
    if not isinstance(row, Mapping) or not row:
        raise ValueError(
            f'{key} = {row!r}: write a table, such as {{tolerance = "3%", margin = "10%"}}'
        )
    for name in row:
        if name not in _FIELDS:
            hint = did_you_mean(name, _FIELDS)
            if isinstance(row[name], Mapping):
                hint = f' For a precision, write the key in quotes: "{key}.{name}".'
            raise ValueError(f"{key}: unknown key {name!r}.{hint} Accepted: {', '.join(_FIELDS)}")
    try:
        shares = {name: parse_share(str(value)) for name, value in row.items()}
        return dataclasses.replace(default, **shares)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error
