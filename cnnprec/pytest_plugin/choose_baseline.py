"""From what the user asked for to the sessions to compare with."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from cnnprec.precision.precisions import Precision
from cnnprec.pytest_plugin.session import Asked, Session
from cnnprec.records.read_sessions import Skipped, read_sessions
from cnnprec.records.record import Record
from cnnprec.records.session_files import matching_files, session_files
from cnnprec.reports.baseline import set_aside
from cnnprec.text import count_of, printable
from cnnprec.verdicts.baseline import Selection, select
from cnnprec.verdicts.case import ENOUGH
from cnnprec.verdicts.decision import SAVE
from cnnprec.verdicts.detect import reach
from cnnprec.verdicts.verdict import Verdict

if TYPE_CHECKING:
    from cnnprec.measurement.prepare import Prepared


def choose_baseline(
    asked: Asked, session: Session, prepared: "Prepared", precisions: Collection[Precision]
) -> tuple[Selection, tuple[Skipped, ...]]:
    """The sessions to compare with, and files that are none; ValueError for none or too few."""
    folder = asked.folder
    if folder is None:
        raise ValueError("--benchmark-compare: there is no folder with baselines")
    saved, skipped = read_sessions(folder, asked.pattern)
    noted = "".join(f"\n  skipped {printable(f'{s.path.name}: {s.reason}')}" for s in skipped)
    if not saved:
        raise ValueError(f"NO_BASELINE: no file in {folder} is a saved session.{noted}")
    data, environment = prepared.data_info, prepared.environment
    current = {
        p.name: Record.blank(p, precisions, session.config, data, environment) for p in precisions
    }
    selection = select(saved, current, asked.vary)
    if not selection.sessions:
        verdict = Verdict.INCOMPARABLE if selection.refused else Verdict.NO_BASELINE
        aside = "".join(f"\n  {line}" for line in set_aside(selection))
        raise ValueError(
            f"{verdict}: none of the {len(saved)} saved sessions in {folder} can be compared with."
            f"{noted}{aside}\nMeasure as they were measured, or save {ENOUGH} sessions as things "
            f"are now, each with: {SAVE}"
        )
    asked.reach = reach([s.records for s in selection.sessions], asked.limits, asked.detect)
    if asked.require_verdict and asked.reach.missing != 0:
        remedy = "Save more with cnnprec baseline, or give a larger --detect"
        raise ValueError(f"--require-verdict: {asked.reach}. {remedy}")
    return selection, skipped


def check_baseline(folder: Path, pattern: str | None) -> None:
    """Refuses a folder without sessions, before TensorFlow is loaded, by a ValueError."""
    if matching_files(folder, pattern):
        return
    which = f" that match {pattern!r}" if pattern else ""
    counts = {path.name: len(session_files(path)) for path in sorted(folder.parent.glob("*-*-x*/"))}
    others = ", ".join(f"{name} ({count_of(n, 'session')})" for name, n in counts.items() if n)
    known = f"\n  There are some of other machines: {others}" if others else ""
    raise ValueError(
        f"NO_BASELINE: there are no saved sessions{which} in {folder}. Save {ENOUGH} or more "
        f"first, each with: {SAVE}{known}"
    )
