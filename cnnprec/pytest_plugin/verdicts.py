"""The verdict items: what is judged, what it is compared with, and the checks before measuring."""

from collections.abc import Callable, Collection, Generator
from pathlib import Path

import pytest

from cnnprec.precision.precisions import Precision
from cnnprec.pytest_plugin.session import (
    ASKED,
    LIMITS,
    NUMERICS,
    SESSION,
    SOAK,
    VERDICT,
    is_verdict,
    parameters,
    selected,
    usage_errors,
)
from cnnprec.records.read_sessions import read_sessions
from cnnprec.records.record import Record
from cnnprec.records.session_files import matching_files, session_files
from cnnprec.reports.baseline import describe_baseline, set_aside
from cnnprec.reports.limits import step_seconds
from cnnprec.text import count_of, printable
from cnnprec.verdicts.baseline import select
from cnnprec.verdicts.case import ENOUGH
from cnnprec.verdicts.compare import due_judgements
from cnnprec.verdicts.decision import SAVE
from cnnprec.verdicts.detect import reach
from cnnprec.verdicts.judge_numbers import Check, faults
from cnnprec.verdicts.judge_saved import compare_selected
from cnnprec.verdicts.step_limits import impossible
from cnnprec.verdicts.verdict import PRECISION_METRICS, SESSION_METRICS, Comparison, Metric, Verdict


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Gives a verdict one item for each metric; the precisions come from the benchmarks."""
    if metafunc.definition.get_closest_marker(NUMERICS) and "check" in metafunc.fixturenames:
        metafunc.parametrize("check", list(Check), ids=str)
    if is_verdict(metafunc.definition) and "metric" in metafunc.fixturenames:
        of_precision = "precision" in metafunc.fixturenames
        metrics = PRECISION_METRICS if of_precision else SESSION_METRICS
        metafunc.parametrize("metric", metrics, ids=str)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts the verdicts last, or leaves them out where nothing is compared."""
    suite = config.stash[SESSION]
    by_mark = {
        NUMERICS: suite.numerics != "off",
        LIMITS: suite.limits,
        SOAK: config.option.soak,
        VERDICT: config.stash[ASKED].comparing,
    }
    marked = {mark: [i for i in items if i.get_closest_marker(mark)] for mark in by_mark}
    if config.option.soak and not marked[SOAK] and selected(items):
        raise pytest.UsageError("--soak: its tests are not selected; run the folder benchmarks/")
    later = {item for those in marked.values() for item in those}
    items[:] = [item for item in items if item not in later]
    for mark, asked in by_mark.items():
        if asked:
            items.extend(marked[mark])
        elif marked[mark]:
            config.hook.pytest_deselected(items=marked[mark])


@pytest.hookimpl(tryfirst=True)  # before the terminal asks for the lines below "collected"
@usage_errors()
def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuses a comparison that cannot be made, before the first training."""
    config = session.config
    asked, suite = config.stash[ASKED], config.stash[SESSION]
    if not asked.comparing or hasattr(config, "workerinput"):
        return
    precisions = selected(session.items)
    if not precisions:
        raise ValueError(
            "--benchmark-compare: no benchmark was selected, so nothing would be compared. "
            "Run: pytest benchmarks/ --benchmark-compare"
        )
    _keep_due(
        session, due_judgements(map(str, precisions), suite.prepare().environment.device_kind)
    )
    _choose_baseline(config, precisions)


def _keep_due(session: pytest.Session, due: list[tuple[Metric, str]]) -> None:
    """Drops verdicts that are not due here, and refuses to leave out one that is."""
    judged = {
        item: (parameters(item)["metric"], str(parameters(item).get("precision", "")))
        for item in session.items
        if is_verdict(item)
    }
    missing = [what for what in due if what not in judged.values()]
    if missing:
        shown = ", ".join(f"{metric} of {name or 'the session'}" for metric, name in missing[:3])
        shown += ", ..." if len(missing) > 3 else ""
        raise ValueError(
            f"--benchmark-compare: {len(missing)} verdicts are not among the selected tests "
            f"({shown}). Run the folder benchmarks/ whole; choose with --precision, not with -k."
        )
    idle = [item for item, what in judged.items() if what not in due]
    session.items[:] = [item for item in session.items if item not in idle]
    session.config.hook.pytest_deselected(items=idle)


def _choose_baseline(config: pytest.Config, precisions: Collection[Precision]) -> None:
    """Chooses the sessions to compare with; ValueError for none or too few."""
    asked, suite, option = config.stash[ASKED], config.stash[SESSION], config.option
    saved, asked.skipped = read_sessions(asked.folder or "", asked.pattern)
    noted = "".join(f"\n  skipped {printable(f'{s.path.name}: {s.reason}')}" for s in asked.skipped)
    if not saved:
        raise ValueError(f"NO_BASELINE: no file in {asked.folder} is a saved session.{noted}")
    prepared = suite.prepare()
    known = (precisions, suite.config, prepared.data_info, prepared.environment)
    current = {precision.name: Record.blank(precision, *known) for precision in precisions}
    selection = select(saved, current, option.vary)
    chosen = [session.records for session in selection.sessions]
    if not chosen:
        verdict = Verdict.INCOMPARABLE if selection.refused else Verdict.NO_BASELINE
        aside = "".join(f"\n  {line}" for line in set_aside(selection))
        raise ValueError(
            f"{verdict}: none of the {len(saved)} saved sessions in {asked.folder} can be compared "
            f"with.{noted}{aside}\nMeasure as they were measured, or save {ENOUGH} sessions as "
            f"things are now, each with: {SAVE}"
        )
    asked.reach = reach(chosen, asked.limits, option.detect)
    if option.require_verdict and asked.reach.missing != 0:
        remedy = "Save more with cnnprec baseline, or give a larger --detect"
        raise ValueError(f"--require-verdict: {asked.reach}. {remedy}")
    asked.selection = selection


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


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Says what will be compared with, and what was left aside and why."""
    asked = config.stash[ASKED]
    if asked.selection is None or asked.reach is None:
        return []
    return [
        *describe_baseline(asked.selection, asked.skipped, asked.limits, f" of {asked.folder}"),
        f"baseline: {asked.reach}",
        *(f"changed: {difference}" for difference in asked.selection.changed),
    ]


@pytest.fixture
def numbers(pytestconfig: pytest.Config) -> Callable[[str, Check], None]:
    """Fails a test where the numbers of a precision are wrong, baseline or not."""
    records = pytestconfig.stash[SESSION].records

    def judge_numbers(precision: str, check: Check) -> None:
        if precision not in records:
            pytest.fail(f"{precision} was not measured", pytrace=False)
        if wrong := faults(records[precision], records)[check]:
            pytest.fail("\n".join([f"{precision}: {len(wrong)} wrong", *wrong]), pytrace=False)

    return judge_numbers


@pytest.fixture
def hold(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Fails a test where a precision was faster than the device can be."""
    records = pytestconfig.stash[SESSION].records

    def hold_to_limits(precision: str) -> None:
        record = records.get(precision)
        if record is None or record.limits is None:
            pytest.fail(f"{precision}: the limits of the device were not measured", pytrace=False)
        if why := impossible(record, step_seconds(record)):
            pytest.fail(f"INVALID: {precision}: {why}", pytrace=False)

    return hold_to_limits


@pytest.fixture(scope="session")
def comparison(pytestconfig: pytest.Config) -> Comparison:
    """The verdicts on what this session measured."""
    asked, suite = pytestconfig.stash[ASKED], pytestconfig.stash[SESSION]
    if asked.comparison is None:
        if asked.selection is None:
            pytest.fail("there is no baseline: run with --benchmark-compare", pytrace=False)
        # The verdicts come last, so all that can fail has.
        asked.comparison = compare_selected(
            asked.selection, suite.records, asked.limits, failed=bool(asked.failed)
        )
    return asked.comparison


@pytest.fixture
def judge(
    comparison: Comparison,
    record_property: Callable[[str, object], None],
    pytestconfig: pytest.Config,
) -> Callable[[Metric, str], None]:
    """Turns the judgement on a metric of a precision into the outcome of a test."""

    def turn(metric: Metric, precision: str) -> None:
        judgement = comparison.of(metric, precision)
        text, estimate = f"{judgement.verdict}: {judgement.reason}", judgement.estimate
        record_property("verdict", judgement.verdict.value)
        record_property("reason", judgement.reason)
        if estimate is not None:
            for name in ("ratio", "low", "high", "detectable"):
                record_property(name, f"{getattr(estimate, name):.4f}")
        required = pytestconfig.option.require_verdict
        if judgement.verdict is Verdict.INCONCLUSIVE and not required:
            pytest.skip(text)
        if judgement.verdict is not Verdict.PASS:
            # pytest's short summary shows the first line, as much of it as fits.
            first = f"{estimate.ratio - 1:+.0%} {judgement.quantity}\n" if estimate else ""
            pytest.fail(first + text, pytrace=False)

    return turn


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Leaves "Failed:" out, so that the short summary has room for the reason."""
    report = yield
    if is_verdict(item) and report.failed and call.excinfo is not None:
        report.longrepr = str(call.excinfo.value)
    return report
