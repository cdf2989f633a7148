"""Hall's transformation: against the plain formula, against Student's t, its own inverse, and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pytest_saliency.decide import compare, rates
from pytest_saliency.decide.skewed import skewed_mean


def test_p_value_is_that_of_the_cubed_t_by_hand() -> None:
    values, delta = np.array([0.1, 0.4, 0.2, 3.0, 0.9, 0.3]), 0.3
    g, u = stats.skew(values, bias=False), (values.mean() - delta) / values.std(ddof=1)
    cube = ((1.0 + g * u / 3.0) ** 3 - 1.0) / g
    h = math.sqrt(6) * (cube + g / 36.0)
    found = skewed_mean(values)
    assert found.p_greater(delta) == pytest.approx(stats.t.sf(h, 5), rel=1e-12)
    assert found.p_less(delta) == pytest.approx(stats.t.cdf(h, 5), rel=1e-12)
    assert found.p_greater(delta) != pytest.approx(stats.ttest_1samp(values, delta, alternative="greater").pvalue)


@pytest.mark.parametrize("spread", [[-2.0, -1.0, 0.0, 1.0, 2.0], [-1.0, 1.0]])
def test_without_skewness_it_is_students_t(spread: list[float]) -> None:
    values = np.array(spread) + 0.7
    test = stats.ttest_1samp(values, 0.2, alternative="less")
    found = skewed_mean(values)
    assert found.p_less(0.2) == pytest.approx(test.pvalue, rel=1e-9)
    assert found.upper(0.05) == pytest.approx(test.confidence_interval(0.95).high, rel=1e-9)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e150])
@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.3])
def test_bounds_are_where_the_p_value_is_alpha_and_mirror_images_agree(alpha: float, scale: float) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        values = scale * (rng.exponential(1.0, 5 + seed) - rng.random())
        one, mirror = skewed_mean(values), skewed_mean(-values)
        assert one.p_greater(one.lower(alpha)) == pytest.approx(alpha, rel=1e-6)
        assert one.p_less(one.upper(alpha)) == pytest.approx(alpha, rel=1e-6)
        assert one.lower(alpha) < one.upper(alpha)
        assert mirror.upper(alpha) == pytest.approx(-one.lower(alpha), rel=1e-12)


def test_numbers_without_spread_are_sure_of_their_mean_and_too_few_of_nothing() -> None:
    same = skewed_mean(np.full(7, 0.1))
    assert (same.p_less(0.2), same.p_less(0.1), same.p_greater(0.0), same.p_greater(0.1)) == (0.0, 1.0, 0.0, 1.0)
    assert (same.lower(0.05), same.upper(0.05)) == (pytest.approx(0.1), pytest.approx(0.1))
    zero = skewed_mean(np.zeros(7))
    assert (zero.p_less(0.1), zero.p_greater(0.0), zero.upper(0.05)) == (0.0, 1.0, 0.0)
    for few in (np.zeros(0), np.ones(1)):
        found = skewed_mean(few)
        assert (found.p_less(9.0), found.p_greater(-9.0)) == (1.0, 1.0)
        assert (found.lower(0.05), found.upper(0.05)) == (-math.inf, math.inf)


def test_skewed_differences_on_the_limit_are_not_passed_as_often_as_by_sign_flips_alone() -> None:
    """A long tail beyond the limit, which a sample often misses: exponential, mean 0, 30 images."""
    runs = 500
    both = alone = 0
    for run in range(runs):
        differences = np.random.default_rng([run, 9]).exponential(1.0, 30) - 1.0
        reference = compare.mean_reference(differences, run)
        both += reference.p_less(0.0) < 0.05
        alone += reference.flips.p_less(0.0) < 0.05
    assert rates.lower_bound(alone, runs, 0.01) > 0.05
    assert rates.lower_bound(both, runs, 0.01) <= 0.05
    assert rates.upper_bound(both, runs, 0.01) < 0.12
    assert 0 < both < alone


def test_power_for_symmetric_differences_is_kept() -> None:
    runs = 200
    both = alone = 0
    for run in range(runs):
        differences = np.random.default_rng([run, 10]).normal(-0.5, 1.0, 30)
        reference = compare.mean_reference(differences, run)
        both += reference.p_less(0.0) < 0.05
        alone += reference.flips.p_less(0.0) < 0.05
    assert alone > 0.75 * runs
    assert both > 0.93 * alone


def test_missing_differences_never_help_whatever_the_others_are() -> None:
    """All sign patterns are listed, so with and without missing ones nothing is left to chance."""
    near = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        n, limit = int(rng.integers(6, 12)), float(rng.choice([0.0, 0.01, 0.5]))
        change = rng.exponential(0.2, n) * rng.choice([-1.0, 0.0, 1.0]) + limit
        other = rng.normal(rng.choice([0.0, 1.0]), 0.4, n)
        for side in (-1.0, 1.0):
            one = other + change + side * float(rng.uniform(0.0, 0.3))
            rest = (one - other)[1:]
            alone = compare.mean_reference(rest, 0)
            missing = (np.r_[math.nan, one[1:]], other) if rng.random() < 0.5 else (one, np.r_[math.nan, other[1:]])
            most, least = (compare.mean_reference(d, 0, rest) for d in compare.extremes(*missing, limit))
            assert most.p_less(limit) >= alone.p_less(limit) - 1e-12
            assert least.p_greater(limit) >= alone.p_greater(limit) - 1e-12
            assert most.upper(0.05) >= alone.upper(0.05) - 1e-12 or alone.upper(0.05) > limit
            near += min(alone.p_less(limit), alone.p_greater(limit)) < 0.1
    assert near > 40, "else no case came near a decision"


def test_a_stand_in_that_would_lower_the_p_value_of_the_transformation_does_not() -> None:
    """One of the rare cases: n = 8, a long tail below the limit, the missing number at about the limit's distance."""
    found = 0
    for seed in range(4000):
        rng = np.random.default_rng([seed, 1])
        rest = rng.exponential(0.3, 7) - rng.uniform(0.2, 0.6)
        filled = np.r_[rest.max() * rng.uniform(0.0, 1.0), rest]
        if skewed_mean(filled).p_less() < 0.05 <= skewed_mean(rest).p_less():
            found += 1
            assert compare.mean_reference(filled, 0, rest).p_less() >= 0.05
    assert found


@pytest.mark.parametrize("size", [1e-300, 1e-150, 1e150])
@pytest.mark.parametrize("delta", [-1.0, 0.0, 1.0])
def test_numbers_of_any_size_have_a_p_value(size: float, delta: float) -> None:
    values = np.array([0.1, 0.4, 0.2, 3.0, 0.9, 0.3]) * size
    found = skewed_mean(values)
    for p in (found.p_greater(delta), found.p_less(delta)):
        assert 0.0 <= p <= 1.0
    assert found.p_greater(delta) + found.p_less(delta) == pytest.approx(1.0)
    if delta and size < 1.0:
        assert found.p_greater(delta) == (0.0 if delta < 0.0 else 1.0)
