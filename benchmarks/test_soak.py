"""Does the machine compute the same again and again? Only with ``--soak``."""

from collections.abc import Callable

import pytest

from cnnprec.precision.precisions import Precision


@pytest.mark.precision_soak
def test_soak(precision: Precision, soak: Callable[[Precision], None]) -> None:
    """Repeats the same steps of one precision and compares every bit."""
    soak(precision)
