"""The constants of the error analysis."""

from __future__ import annotations

import dataclasses

import pytest

from cnnprec.numerics.arithmetic import ACCUMULATORS, Arithmetic, arithmetic_for, gamma
from cnnprec.precision.formats import FORMATS


def test_gamma_is_n_u_over_1_minus_n_u():
    assert gamma(4, 0.125) == 1.0
    assert gamma(0, 0.125) == 0.0


@pytest.mark.parametrize("terms", [8, 9, -1])
def test_gamma_refuses_counts_at_which_the_analysis_breaks_down(terms):
    with pytest.raises(ValueError, match="wider accumulator"):
        gamma(terms, 0.125)


def test_wider_bounds_are_given_only_where_the_hardware_needs_them():
    assert arithmetic_for("float16").accumulator == ACCUMULATORS["float32"]
    assert arithmetic_for("float16", tensor_cores=True).accumulator == 2.0**-23
    assert arithmetic_for("float32", tensor_cores=True).accumulator == 2.0**-24
    assert arithmetic_for("float64", tensor_cores=True).accumulator == 2.0**-53
    assert arithmetic_for("float32", tensor_float_32=True).tensor_float_32
    assert not arithmetic_for("float16", tensor_float_32=True).tensor_float_32
    assert not arithmetic_for("float16").flushes_subnormals


def test_an_arithmetic_knows_what_it_loses_to_underflow():
    keeps = Arithmetic(FORMATS["float16"], ACCUMULATORS["float32"])
    assert keeps.underflow == 2.0**-25
    assert dataclasses.replace(keeps, flushes_subnormals=True).underflow == 2.0**-14
