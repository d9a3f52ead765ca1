"""Variances that borrow from each other."""

import numpy as np
import pytest
from scipy import special

from cnnprec.verdicts.moderation import _trigamma_inverse, moderate


def test_few_variances_are_left_alone():
    assert moderate([1.0, 4.0], 7) == ((1.0, 4.0), 7.0)


def test_equal_variances_stay_and_gain_degrees_of_freedom():
    found, freedom = moderate([2.0] * 8, 7)
    assert found == pytest.approx([2.0] * 8, rel=0.08)
    assert freedom == 21


def test_variances_are_drawn_towards_each_other_and_keep_their_order():
    given = [1.0, 1.5, 2.0, 3.0, 0.5]
    found, freedom = moderate(given, 7)
    assert sorted(range(5), key=lambda i: found[i]) == sorted(range(5), key=lambda i: given[i])
    assert max(found) / min(found) < max(given) / min(given)
    assert 7 < freedom <= 21


def test_variances_that_differ_widely_borrow_little():
    _, close = moderate([1.0, 1.1, 0.9, 1.2], 20)
    found, wide = moderate([1e-4, 1.0, 1e4, 10.0], 20)
    assert wide < close
    assert all(a < 2 * b and b < 2 * a for a, b in zip(found, [1e-4, 1.0, 1e4, 10.0], strict=True))


def test_scale_does_not_matter():
    small, freedom = moderate([1.0, 2.0, 3.0], 5)
    large, same = moderate([100.0, 200.0, 300.0], 5)
    assert large == pytest.approx([100 * value for value in small])
    assert same == pytest.approx(freedom)


@pytest.mark.parametrize("x", [0.1, 1.0, 7.0, 500.0])
def test_inverse_of_trigamma(x):
    assert _trigamma_inverse(float(special.polygamma(1, x))) == pytest.approx(x, rel=1e-6)


@pytest.mark.parametrize("shared", [0.0, 0.5])
def test_moderated_t_keeps_its_level(shared):
    """Eight precisions of one true variance: about 5 % are beyond the 95 % bound.

    Correlated residuals (half of the variance common to all) keep it too, which is what the limit
    of the borrowed degrees of freedom is for. 16,000 values give a standard error below 0.6 %
    even where eight of them are one.
    """
    rng = np.random.default_rng(2)
    beyond = total = 0
    for _ in range(2000):
        common = rng.normal(0, np.sqrt(shared), 9)
        values = common + rng.normal(0, np.sqrt(1 - shared), (8, 9))
        variances, freedom = moderate(list(values[:, :8].var(axis=1, ddof=1)), 7)
        t = (values[:, 8] - values[:, :8].mean(axis=1)) / np.sqrt(np.array(variances) * (1 + 1 / 8))
        beyond += int(np.sum(t > special.stdtrit(freedom, 0.95)))
        total += 8
    assert beyond / total == pytest.approx(0.05, abs=0.01)
