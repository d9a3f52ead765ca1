"""A judged fleet as text and as JSON. Nothing is decided here."""

from collections.abc import Mapping
from pathlib import Path

from cnnprec.records.write_whole import write_json
from cnnprec.reports.verdict_json import VERSION, judgements
from cnnprec.reports.verdicts import decided, remarks_on
from cnnprec.text import aligned, printable, wrapped
from cnnprec.verdicts.decision import Decision
from cnnprec.verdicts.verdict import Comparison

_MOST_NAMED = 4


def fleet(found: Mapping[str, Comparison], decision: Decision, width: int | None) -> list[str]:
    """A row for each host, what sets hosts apart, and what to do."""
    rows = [("host", "judged by", "slowest", "verdict")]
    said: dict[str, list[str]] = {}
    for host, one in found.items():
        sizes = [(j.estimate.ratio, j.precision or "all") for j in one.judgements if j.estimate]
        slowest = "{:.3f} {}".format(*max(sizes)) if sizes else ""
        rows.append((printable(host), one.basis, slowest, one.verdict.value))
        apart = [f"unlike most hosts: {'; '.join(map(str, one.changed))}"] * bool(one.changed)
        for text in (*remarks_on(one), *apart):
            said.setdefault(text, []).append(printable(host))
    above = ["", "'before' and 'baseline' mean what most of the hosts have"] if said else []
    lines = [*above, "", *(f"{_named(hosts)}: {text}" for text, hosts in said.items())]
    lines += ["", *decided(decision)] if said else decided(decision)
    return [*aligned(rows, left=3), *(part for line in lines for part in wrapped(line, width))]


def _named(hosts: list[str]) -> str:
    more = f" and {len(hosts) - _MOST_NAMED} more" if len(hosts) > _MOST_NAMED else ""
    return ", ".join(hosts[:_MOST_NAMED]) + more


def write_fleet(path: Path, found: Mapping[str, Comparison], decision: Decision) -> None:
    """Writes all verdicts with their figures; OSError where it cannot."""
    plain = {
        "version": VERSION,
        "verdict": decision.verdict.value,
        "basis": f"{len(found)} hosts",
        "hosts": {host: one.verdict.value for host, one in found.items()},
        "judgements": [{"host": h, **row} for h, one in found.items() for row in judgements(one)],
    }
    write_json(path, plain)
