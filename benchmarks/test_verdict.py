"""The verdicts on what this session measured, against the saved baseline.

They run last, and only with ``--benchmark-compare``. They are ordinary tests, so exit codes,
JUnit files and IDEs know them.
"""

from collections.abc import Callable

import pytest

from cnnprec.precision.precisions import Precision
from cnnprec.verdicts.verdict import Metric

pytestmark = pytest.mark.precision_verdict


def test_verdict(
    metric: Metric, precision: Precision, judge: Callable[[Metric, str], None]
) -> None:
    """One metric of one precision."""
    judge(metric, precision.name)


def test_session_verdict(metric: Metric, judge: Callable[[Metric, str], None]) -> None:
    """One metric of the session as a whole."""
    judge(metric, "")
