"""Are the numbers right? Judged without a baseline, after the trainings."""

from collections.abc import Callable

import pytest

from cnnprec.precision.precisions import Precision
from cnnprec.verdicts.judge_numbers import Check


@pytest.mark.precision_numerics
def test_numerics(
    check: Check, precision: Precision, numbers: Callable[[str, Check], None]
) -> None:
    """One check of one precision; `Check` says what is asked."""
    numbers(precision.name, check)
