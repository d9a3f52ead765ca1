"""The report of one session: a page, which needs ``cnnprec[report]``, and Markdown for CI jobs."""

import base64
import dataclasses
import importlib.util
import json
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cnnprec.records.record import Record
from cnnprec.records.write_whole import write_whole
from cnnprec.reports.figures import charts
from cnnprec.reports.history import sentences, summary
from cnnprec.reports.limits import limits_sentences, limits_table
from cnnprec.reports.results import answer, conditions, in_order, notes, results, table, warning
from cnnprec.reports.verdict_json import judgements, make_way
from cnnprec.reports.verdicts import remarks_on, verdict_table, verdicts_markdown, what_changed
from cnnprec.verdicts.decision import decide
from cnnprec.verdicts.history import History
from cnnprec.verdicts.recommend import recommend
from cnnprec.verdicts.verdict import Comparison

PAGE, MARKDOWN = "report.html", "report.md"
_MARKS = {PAGE: b'<meta name="generator" content="cnnprec">', MARKDOWN: b"# cnnprec"}


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """One session, of at least one record in any order, and how it compares, if it was compared."""

    records: Sequence[Record]
    comparison: Comparison | None = None
    history: History | None = None
    saved_at: datetime = dataclasses.field(default_factory=lambda: datetime.now(timezone.utc))


def clear(folder: Path) -> None:
    """Removes an earlier report; ValueError where no report can be made and written."""
    if importlib.util.find_spec("jinja2") is None:
        raise ValueError(
            "a report needs jinja2, which is not installed. Install it with "
            "pip install 'cnnprec[report]'."
        )
    for name, mark in _MARKS.items():

        def is_ours(content: bytes, mark: bytes = mark) -> bool:
            return mark in content[:500]

        make_way(folder / name, "report of cnnprec", is_ours)


def write_report(folder: Path, report: Report) -> None:
    """Writes the page and the Markdown, each whole or not at all; OSError where it cannot."""
    page = html(report)
    write_whole(folder / PAGE, page)
    write_whole(folder / MARKDOWN, "\n".join(["# cnnprec", "", *markdown(report)]))


def markdown(report: Report) -> list[str]:
    """VERDICTS, if there are some, and RESULTS."""
    lines = ["## RESULTS", "", "```text", *results(report.records), "```", ""]
    if report.comparison is not None:
        return ["## VERDICTS", "", *verdicts_markdown(report.comparison), "", *lines]
    return lines


def html(report: Report) -> str:
    """The page, which loads nothing from anywhere."""
    # Imported here because it may not be installed.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader, refuse = FileSystemLoader(Path(__file__).parent), StrictUndefined
    environment = Environment(loader=loader, autoescape=True, undefined=refuse, trim_blocks=True)
    return environment.get_template(f"{PAGE}.j2").render(context(report))


def context(report: Report) -> dict[str, Any]:
    """What the page shows, by the names in its template."""
    ranked, found = in_order(report.records), report.comparison
    made: dict[str, Any] = {
        "records": ranked,
        "saved_at": report.saved_at,
        "answer": answer(recommend(ranked)),
        "warning": warning(ranked),
        "conditions": conditions(ranked[0]),
        "notes": notes(ranked),
        "results": table(ranked),
        "limits": limits_table(ranked),
        "bounds": limits_sentences(ranked),
        "comparison": found,
        "charts": charts(ranked, found, report.history),
        "binades": any(r.numerics and r.numerics.binades for r in ranked),
        "history": [],
        "raw": base64.b64encode(_session(report).encode()).decode(),
    }
    if found is not None:
        made |= {"decision": decide(found), "remarks": remarks_on(found)}
        made |= {"basis": what_changed(found), "verdicts": verdict_table(found)}
    if report.history is not None and summary(report.history):
        made["history"] = sentences(report.history)
    return made


def _session(report: Report) -> str:
    rows = [
        {"name": record.precision.name, "extra_info": {"cnnprec": record.to_dict()}}
        for record in report.records
    ]
    session = {"benchmarks": rows, "datetime": report.saved_at.isoformat(), "cnnprec": {}}
    if (found := report.comparison) is not None:
        session["cnnprec"] = {"verdict": found.verdict.value, "judgements": judgements(found)}
    return json.dumps(session, indent=1)
