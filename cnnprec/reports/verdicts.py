"""VERDICTS: a finished comparison as text and as Markdown. Nothing is decided here."""

from cnnprec.precision.precisions import rank
from cnnprec.reports.results import NONE
from cnnprec.text import fitted, markdown_table, markdown_text, wrapped
from cnnprec.verdicts.decision import Decision, attribution, decide
from cnnprec.verdicts.verdict import GROWTHS, Comparison, Judgement, Verdict


def verdicts(comparison: Comparison, width: int | None = None) -> list[str]:
    """The VERDICTS block: what changed, why something did not pass, the table, what to do."""
    found = decide(comparison)
    heading, details = what_changed(comparison)
    above = [heading, *(f"  {line}" for line in details), "", *(told := remarks_on(comparison))]
    above += [""] if told else []
    return [
        *(part for line in above for part in wrapped(line, width)),
        *fitted(verdict_table(comparison), width, ("sessions", "detectable", "ratio")),
        *(part for line in ("", *decided(found)) for part in wrapped(line, width)),
    ]


def decided(found: Decision) -> list[str]:
    """The last lines of a comparison: what it comes to, why, and what to do next."""
    verdict = f"verdict: {found.verdict}, {found.action}"
    return [verdict, f"reason:  {found.reason}", f"next:    {found.next}"]


def verdicts_markdown(comparison: Comparison) -> list[str]:
    """The same as `verdicts` in Markdown, for the summary of a CI job or a pull request."""
    found, (heading, details) = decide(comparison), what_changed(comparison)
    headings, *rows = verdict_table(comparison)
    return [
        f"**{found.verdict}, {found.action}**, {heading}",
        "",
        *(f"* {markdown_text(line)}" for line in details),
        *([""] if details else []),
        *markdown_table(headings, rows),
        "",
        *(f"* {markdown_text(remark)}" for remark in remarks_on(comparison)),
        f"* next: {found.next}",
    ]


def annotation(comparison: Comparison) -> str:
    """The decision as a workflow command of GitHub Actions."""
    found = decide(comparison)
    levels = {Verdict.PASS: "notice", Verdict.FAIL: "error", Verdict.INVALID: "error"}
    message = found.reason.replace("%", "%25").replace("\n", "%0A")
    title = f"cnnprec {found.verdict}, {found.action}"
    return f"::{levels.get(found.verdict, 'warning')} title={title}::{message}"


def measured(comparison: Comparison) -> list[Judgement]:
    """The judgements that the table shows: sizes always, the others where they did not pass."""
    return [j for j in _ranked(comparison) if j.metric in GROWTHS or j.verdict is not Verdict.PASS]


def _ranked(comparison: Comparison) -> list[Judgement]:
    return sorted(comparison.judgements, key=lambda j: (not j.precision, rank(j.precision)))


def verdict_table(comparison: Comparison) -> list[tuple[str, ...]]:
    """The headings, and a row for each judgement that is shown."""
    headings = ("precision", "what", "ratio", "95 % bounds", "detectable", "sessions", "verdict")
    return [headings, *map(_row, measured(comparison))]


def _row(judgement: Judgement) -> tuple[str, ...]:
    found, figures = judgement.estimate, [NONE] * 4
    if found is not None:
        bounds = f"{found.low:.3f} to {found.high:.3f}"
        figures = [f"{found.ratio:.3f}", bounds, f"+{found.detectable:.0%}", str(found.count)]
    what = judgement.quantity or judgement.metric.value
    return (judgement.precision or "(session)", what, *figures, judgement.verdict.value)


def what_changed(comparison: Comparison) -> tuple[str, list[str]]:
    """What was compared with, and then what changed of software and machine."""
    changed = "what changed in the stack:" if comparison.changed else "nothing changed in the stack"
    slower, details = comparison.machine, [str(difference) for difference in comparison.changed]
    then = "in the baseline's sessions, by its calibrators"
    if slower is not None and abs(slower) < 0.02:
        details.append(f"the machine was as fast as {then}")
    elif slower is not None:
        speed = f"{abs(slower):.0%} {'slower' if slower > 0 else 'faster'}"
        details.append(f"the machine was {speed} than {then}; the verdicts allow for it")
    elif comparison.why_no_machine:
        details.append(f"the calibrators were not used: {comparison.why_no_machine}")
    if found := attribution(comparison):
        details.append(found)
    return f"compared with {comparison.basis}; {changed}", details


def remarks_on(comparison: Comparison) -> list[str]:
    """One sentence for each judgement that did not pass, or that passed with a notice."""
    return [
        f"{'NOTICE' if judgement.notice else judgement.verdict} "
        f"{judgement.precision or 'session'} {judgement.metric}: {judgement.reason}"
        for judgement in _ranked(comparison)
        if judgement.verdict is not Verdict.PASS or judgement.notice
    ]
