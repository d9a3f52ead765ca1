"""The verdicts on what this session measured, against the saved baseline.

They run last, and only with ``--benchmark-compare``. They are ordinary tests, so exit codes,
JUnit files and IDEs know them.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cnnprec.compare import Comparison, Judgement, Verdict
from cnnprec.precision import Precision


def test_verdict(
    metric: str, precision: Precision, comparison: Comparison, show: Callable[[Judgement], None]
) -> None:
    """One metric of one precision."""
    show(comparison.of(metric, precision.name))


def test_nothing_missing_nothing_new(
    comparison: Comparison, show: Callable[[Judgement], None]
) -> None:
    """What the baseline holds was measured, and nothing else."""
    show(comparison.of("completeness", ""))


@pytest.fixture
def show(record_property, require_verdict: bool) -> Callable[[Judgement], None]:
    """Turns a judgement into the outcome of a test."""

    def turn(judgement: Judgement) -> None:
        record_property("verdict", judgement.verdict.value)
        record_property("reason", judgement.reason)
        if judgement.estimate is not None:
            for name in ("ratio", "low", "high", "detectable"):
                record_property(name, f"{getattr(judgement.estimate, name):.4f}")
        text = f"{judgement.verdict}: {judgement.reason}"
        if judgement.verdict is Verdict.INCONCLUSIVE and not require_verdict:
            pytest.skip(text)
        if judgement.verdict is not Verdict.PASS:
            pytest.fail(text, pytrace=False)

    return turn
