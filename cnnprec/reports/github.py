"""What GitHub Actions shows of a comparison: an annotation, and a page in the job's summary."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from cnnprec.verdicts.decision import decide
from cnnprec.verdicts.verdict import Comparison, Verdict


def tell_github(
    comparison: Comparison | None, page: Iterable[str], say: Callable[[str], None]
) -> None:
    """Says the decision as an annotation and adds a page to the summary; elsewhere nothing."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    if comparison is not None:
        say(annotation(comparison))
    if target := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            with Path(target).open("a", encoding="utf-8") as file:
                file.write("\n".join([*page, ""]))
        except OSError as error:
            say(f"::warning::{target} cannot be written: {error.strerror or error}")


def annotation(comparison: Comparison) -> str:
    """The decision as a workflow command."""
    found = decide(comparison)
    levels = {Verdict.PASS: "notice", Verdict.FAIL: "error", Verdict.INVALID: "error"}
    message = found.reason.replace("%", "%25").replace("\n", "%0A")
    title = f"cnnprec {found.verdict}, {found.action}"
    return f"::{levels.get(found.verdict, 'warning')} title={title}::{message}"
