"""VERDICTS: a finished comparison as text and as Markdown. Nothing is decided here."""

from __future__ import annotations

from cnnprec.precision.precisions import rank
from cnnprec.reports.results import NONE
from cnnprec.text import aligned, markdown_table, markdown_text
from cnnprec.verdicts.verdict import GROWTHS, Comparison, Judgement, Metric, Verdict


def verdicts(comparison: Comparison) -> list[str]:
    """The VERDICTS block: the table, the reasons of all that did not pass, the changed stack.

    Returns:
        Lines without line ends.
    """
    rows = [_VERDICT_HEADINGS, *(_verdict_row(j) for j in _measured(comparison))]
    return [
        f"compared with {comparison.basis}; {_stack(comparison)}",
        *(f"  {difference}" for difference in comparison.changed),
        *_machine(comparison),
        "",
        *aligned(rows),
        "",
        *_remarks(comparison),
        f"verdict: {comparison.verdict}",
    ]


def verdicts_markdown(comparison: Comparison) -> list[str]:
    """The same as `verdicts` in Markdown, for the summary of a CI job or a pull request."""
    rows = (_verdict_row(judgement) for judgement in _measured(comparison))
    return [
        f"**{comparison.verdict}**, compared with {comparison.basis}; {_stack(comparison)}",
        "",
        *(f"* {markdown_text(str(difference))}" for difference in comparison.changed),
        *(f"* {line}" for line in _machine(comparison)),
        *([""] if comparison.changed else []),
        *markdown_table(_VERDICT_HEADINGS, rows),
        "",
        *(f"* {markdown_text(remark)}" for remark in _remarks(comparison)),
    ]


_VERDICT_HEADINGS = (
    "precision",
    "what",
    "ratio",
    "95 % bounds",
    "detectable",
    "sessions",
    "verdict",
)


def _measured(comparison: Comparison) -> list[Judgement]:
    """The judgements that the table shows: sizes always, the others where they did not pass."""
    return [
        judgement
        for judgement in _ranked(comparison)
        if judgement.metric in GROWTHS or judgement.verdict is not Verdict.PASS
    ]


def _ranked(comparison: Comparison) -> list[Judgement]:
    """The judgements in the order of the precisions; those on the session come last."""
    return sorted(comparison.judgements, key=lambda j: (not j.precision, rank(j.precision)))


def _verdict_row(judgement: Judgement) -> tuple[str, ...]:
    estimate = judgement.estimate
    return (
        judgement.precision or "(session)",
        judgement.quantity or judgement.metric.value,
        f"{estimate.ratio:.3f}" if estimate else NONE,
        f"{estimate.low:.3f} to {estimate.high:.3f}" if estimate else NONE,
        f"+{estimate.detectable:.0%}" if estimate else NONE,
        str(estimate.count) if estimate else NONE,
        judgement.verdict.value,
    )


def _machine(comparison: Comparison) -> list[str]:
    """How fast the machine was, where its calibrators tell."""
    slower = comparison.machine
    if slower is None:
        why = comparison.why_no_machine
        return [f"the calibrators were not used: {why}"] if why else []
    if abs(slower) < _ALIKE:
        return ["the machine was as fast as in the baseline's sessions, by its calibrators"]
    return [
        f"the machine was {abs(slower):.0%} {'slower' if slower > 0 else 'faster'} than in the "
        "baseline's sessions, by its calibrators; the verdicts allow for it"
    ]


def _stack(comparison: Comparison) -> str:
    return "what changed in the stack:" if comparison.changed else "nothing changed in the stack"


def _remarks(comparison: Comparison) -> list[str]:
    """One sentence for each judgement that did not pass, or that passed with a notice.

    Where something is slower than saved sessions, one more says what else can be the cause.
    """
    remarks = [
        f"{_NOTICE if judgement.notice else judgement.verdict} "
        f"{judgement.precision or 'session'} {judgement.metric}: "
        f"{judgement.reason}"
        for judgement in _ranked(comparison)
        if judgement.verdict is not Verdict.PASS or judgement.notice
    ]
    slower = not comparison.paired and any(
        judgement.metric is Metric.SPEED
        and judgement.verdict is Verdict.FAIL
        and judgement.estimate is not None
        for judgement in comparison.judgements
    )
    return [*remarks, _OTHER_CAUSE] if slower else remarks


_NOTICE = "NOTICE"
_ALIKE = 0.02

_OTHER_CAUSE = (
    "A machine that became slower since the sessions were saved looks the same. Measuring by turns "
    "tells the two apart (cnnprec ab), and so do sessions saved over days instead of in one go."
)
