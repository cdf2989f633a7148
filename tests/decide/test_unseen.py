"""Random weights with room for an unseen tail: against closed forms, Clopper-Pearson, its inverse, and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_saliency.decide import compare, rates
from pytest_saliency.decide.unseen import at_least_zero, unseen_tail


def test_the_probability_is_that_of_sums_of_exponentials_in_closed_form() -> None:
    """Partial fractions: P = sum over c_i > 0 of prod over j != i of c_i / (c_i - c_j)."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        c = rng.normal(rng.normal(), 1.0, int(rng.integers(2, 8)))
        parts = [np.prod([c[i] / (c[i] - other) for other in np.delete(c, i)]) for i in np.flatnonzero(c > 0.0)]
        assert at_least_zero(c) == pytest.approx(sum(parts), abs=1e-9)


@pytest.mark.parametrize("n", [5, 40, 700])
def test_with_the_end_of_the_range_it_is_clopper_pearson_for_counts(n: int) -> None:
    """Weights of k ones and of the further one add up to a beta(k + 1, n - k) number."""
    for k in {0, 1, n // 3, n - 1}:
        for share in (0.01, 0.3, 0.5, 0.97):
            numbers = np.r_[np.ones(k + 1), np.zeros(n - k)] - share
            assert at_least_zero(numbers) == pytest.approx(rates.p_share_below(k, n, share), abs=1e-9)


def test_many_numbers_with_a_mean_far_away_are_sure() -> None:
    values = np.random.default_rng(1).normal(3.0, 1.0, 20_000)
    assert at_least_zero(values) == 1.0
    assert at_least_zero(-values) == 0.0
    assert at_least_zero(values - 2.8) == pytest.approx(1.0, abs=1e-9)
    assert at_least_zero(2.8 - values) == pytest.approx(0.0, abs=1e-9)


def test_room_is_left_beyond_the_longer_tail_only() -> None:
    values = np.array([0.0, 1.0, 2.0, 3.0, 9.0, 2.0])
    # median 2: the upper tail is 7 long, the lower one 2; 1 + 50 / 6.
    one = unseen_tail(values)
    assert (one.scale * one.above, one.scale * one.below) == (pytest.approx(2.0 + 280.0 / 6.0), pytest.approx(2.0))
    mirror = unseen_tail(-values)
    assert (mirror.scale * mirror.below, mirror.scale * mirror.above) == (
        pytest.approx(-2.0 - 280.0 / 6.0),
        pytest.approx(-2.0),
    )
    even = unseen_tail(np.array([-1.0, 0.0, 1.0]))
    assert even.above == even.below == 0.0


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e150])
@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.3])
def test_bounds_are_where_the_p_value_is_alpha_and_mirror_images_agree(alpha: float, scale: float) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        values = scale * (rng.exponential(1.0, 6 + 12 * seed) - rng.random())
        one, mirror = unseen_tail(values), unseen_tail(-values)
        assert one.p_greater(one.lower(alpha)) == pytest.approx(alpha, abs=1e-7)
        assert one.p_less(one.upper(alpha)) == pytest.approx(alpha, abs=1e-7)
        assert one.lower(alpha) < np.mean(values) < one.upper(alpha)
        assert mirror.upper(alpha) == pytest.approx(-one.lower(alpha), rel=1e-9)


@given(
    st.lists(st.sampled_from([-3.0, -1.0, 0.0, 0.5, 1e9]), max_size=12),
    st.sampled_from([-1.0, 0.0, 2.0]),
)
@settings(max_examples=30, deadline=None)
def test_never_nan_and_the_p_value_falls_with_the_claim(values: list[float], delta: float) -> None:
    one = unseen_tail(np.array(values))
    p = [one.p_less(delta), one.p_less(delta + 0.5), one.p_greater(delta + 0.5), one.p_greater(delta)]
    assert all(0.0 <= value <= 1.0 for value in p)
    assert p[1] <= p[0] + 1e-9
    assert p[3] <= p[2] + 1e-9
    assert one.lower(0.05) <= one.upper(0.05), "and neither is NaN"


def test_numbers_without_spread_are_sure_of_their_mean_and_too_few_of_nothing() -> None:
    same = unseen_tail(np.full(7, 0.1))
    assert (same.p_less(0.2), same.p_less(0.1), same.p_greater(0.0), same.p_greater(0.1)) == (0.0, 1.0, 0.0, 1.0)
    assert (same.lower(0.05), same.upper(0.05)) == (pytest.approx(0.1), pytest.approx(0.1))
    for few in (np.zeros(0), np.ones(1)):
        found = unseen_tail(few)
        assert (found.p_less(9.0), found.p_greater(-9.0)) == (1.0, 1.0)
        assert (found.lower(0.05), found.upper(0.05)) == (-math.inf, math.inf)


def test_a_long_tail_that_a_sample_may_miss_is_allowed_for() -> None:
    """Lognormal, mean 0, 30 images: sign flips with Hall's transformation err in 10 %, with random weights in 5 %."""
    runs = 800
    without = together = 0
    for run in range(runs):
        values = np.exp(np.random.default_rng([run, 9]).normal(0.0, 1.0, 30)) - math.exp(0.5)
        reference = compare.mean_reference(values, run, draws=299)
        flips, (hall, tail) = reference.flips, reference.others
        wrong = flips.p_less() < 0.05 and hall.p_less() < 0.05
        without += wrong
        together += wrong and tail.p_less() < 0.05
    assert rates.lower_bound(without, runs, 0.01) > 0.06
    assert rates.lower_bound(together, runs, 0.01) <= 0.05
    assert 0 < together < 0.75 * without


def test_power_for_normal_numbers_is_nearly_kept() -> None:
    runs, without, together = 400, 0, 0
    for run in range(runs):
        values = np.random.default_rng([run, 10]).normal(-0.5, 1.0, 30)
        reference = compare.mean_reference(values, run, draws=299)
        shown = reference.flips.p_less() < 0.05 and reference.others[0].p_less() < 0.05
        without += shown
        together += shown and reference.others[1].p_less() < 0.05
    assert without > 0.7 * runs
    assert together > 0.93 * without
