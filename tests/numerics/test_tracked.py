"""Running error analysis holds for real rounding, and rejects what is just outside."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnprec.numerics.bounds import arithmetic_for
from cnnprec.numerics.discrepancy import discrepancy
from cnnprec.numerics.tracked import Tracked
from cnnprec.precision.formats import round_to


def _formula(x, y, sqrt, exp, log):
    return exp(sqrt(x * x + y) / (x + 2.0) - y) + log(x + y) * x


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["float16", "float32", "float64"]))
def test_running_error_analysis_encloses_the_same_formula_in_numpy(seed, dtype):
    rng = np.random.default_rng(seed)
    x, y = (round_to(rng.uniform(0.5, 4, 20), dtype) for _ in range(2))
    rules = arithmetic_for(dtype)
    tracked = _formula(
        Tracked.of(x, rules), Tracked.of(y, rules), Tracked.sqrt, Tracked.exp, Tracked.log
    )
    kind = np.dtype(dtype).type
    computed = _formula(x.astype(kind), y.astype(kind), np.sqrt, np.exp, np.log)
    assert computed.dtype == dtype
    assert discrepancy(computed, tracked.enclosure).max_error_over_bound <= 1


def test_running_error_analysis_rejects_the_formula_in_the_next_narrower_dtype():
    rng = np.random.default_rng(0)
    x, y = (round_to(rng.uniform(0.5, 4, 200), "float16") for _ in range(2))
    for dtype, narrow in (("float32", np.float16), ("float64", np.float32)):
        rules = arithmetic_for(dtype)
        tracked = _formula(
            Tracked.of(x, rules), Tracked.of(y, rules), Tracked.sqrt, Tracked.exp, Tracked.log
        )
        computed = _formula(x.astype(narrow), y.astype(narrow), np.sqrt, np.exp, np.log)
        assert discrepancy(computed, tracked.enclosure).max_error_over_bound > 1


def test_running_error_analysis_refuses_results_that_may_not_exist():
    rules = arithmetic_for("float16")
    unsure = Tracked(np.array([0.5]), np.array([0.5]), rules)
    with pytest.raises(ValueError, match="divisor"):
        Tracked.of(1.0, rules) / unsure
    with pytest.raises(ValueError, match="log"):
        unsure.log()
    with pytest.raises(ValueError, match="exact base"):
        unsure.power(2)
    wider = dataclasses.replace(unsure, error=np.array([0.6]))
    with pytest.raises(ValueError, match="sqrt"):
        wider.sqrt()
    assert unsure.sqrt().exact == math.sqrt(0.5)
