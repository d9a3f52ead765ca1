"""Is any precision faster than the device can be? Only with ``--device-limits``."""

from collections.abc import Callable

import pytest

from cnnprec.precision.precisions import Precision


@pytest.mark.precision_limits
def test_limits(precision: Precision, hold: Callable[[str], None]) -> None:
    """One precision; a time that is too short to be that of a whole step is INVALID."""
    hold(precision.name)
