from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from pytest_saliency.decide import means, rates

unit = st.floats(0.0, 1.0)


def capital_written_out(values: list[float], point: float, alpha: float, cap: float) -> float:
    """Waudby-Smith and Ramdas 2024, one side, term by term: the largest capital up to n, starting from 1."""
    n = len(values)
    capital = largest = 1.0
    total, squares, variance = 0.0, 0.0, 0.25
    for t, value in enumerate(values, start=1):
        bet = math.sqrt(2.0 * math.log(1.0 / alpha) / (n * variance))
        if point > 0.0:
            bet = min(bet, cap / point)
        capital *= 1.0 + bet * (value - point)
        largest = max(largest, capital)
        total += value
        mean = (0.5 + total) / (t + 1)
        squares += (value - mean) ** 2
        variance = (0.25 + squares) / (t + 1)
    return largest


@pytest.mark.parametrize("n", [1, 2, 7, 60])
def test_p_values_are_the_formula_written_out(n: int) -> None:
    rng = np.random.default_rng(n)
    values = rng.random(n)
    for point in (0.0, 0.1, 0.45, 0.8, 1.0):
        expected = 1.0 / capital_written_out(values.tolist(), point, 0.05, 0.75)
        assert means.p_above(values, 0.0, 1.0, point, 0.05) == pytest.approx(expected, rel=1e-9)
        mirrored = 1.0 / capital_written_out((1.0 - values).tolist(), 1.0 - point, 0.05, 0.75)
        assert means.p_below(values, 0.0, 1.0, point, 0.05) == pytest.approx(mirrored, rel=1e-9)


@given(st.lists(unit, min_size=1, max_size=40), unit, unit)
@settings(max_examples=150, deadline=None)
def test_capital_falls_as_the_mean_in_question_rises(values: list[float], one: float, other: float) -> None:
    array = np.array(values)
    low, high = sorted((one, other))
    assert means.p_above(array, 0.0, 1.0, low, 0.05) <= means.p_above(array, 0.0, 1.0, high, 0.05) * (1 + 1e-9)


@given(st.lists(unit, min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_bounds_are_where_the_p_value_crosses_alpha(values: list[float]) -> None:
    array = np.array(values)
    low, high = means.lower_bound(array, 0.0, 1.0, 0.05), means.upper_bound(array, 0.0, 1.0, 0.05)
    assert 0.0 <= low <= 1.0
    assert 0.0 <= high <= 1.0
    if low > 1e-6:
        assert means.p_above(array, 0.0, 1.0, low - 1e-6, 0.05) <= 0.05
    assert means.p_above(array, 0.0, 1.0, min(1.0, low + 1e-6), 0.05) > 0.05 - 1e-9
    if high < 1.0 - 1e-6:
        assert means.p_below(array, 0.0, 1.0, high + 1e-6, 0.05) <= 0.05


def test_ranges_are_only_a_scale() -> None:
    values = np.random.default_rng(0).random(30)
    shifted = values * 2.0 - 1.0
    assert means.lower_bound(shifted, -1.0, 1.0, 0.05) == pytest.approx(
        2.0 * means.lower_bound(values, 0.0, 1.0, 0.05) - 1.0
    )
    assert means.upper_bound(shifted, -1.0, 1.0, 0.05) == pytest.approx(
        2.0 * means.upper_bound(values, 0.0, 1.0, 0.05) - 1.0
    )


@pytest.mark.parametrize("kind", ["beta", "coin", "skewed"])
def test_a_true_mean_is_missed_at_most_alpha_of_the_time(kind: str) -> None:
    rng = np.random.default_rng(7)
    draws, n, alpha = 3000, 40, 0.1
    mean = {"beta": 0.3, "coin": 0.05, "skewed": 0.98}[kind]
    missed = 0
    for _ in range(draws):
        values = rng.beta(3.0, 7.0, n) if kind == "beta" else (rng.random(n) < mean).astype(np.float64)
        missed += means.p_below(values, 0.0, 1.0, mean, alpha) < alpha
    # The count is compatible with a rate of at most alpha.
    assert rates.lower_bound(missed, draws, 0.001) <= alpha
    assert binom.sf(missed - 1, draws, alpha) > 0.001


def test_power_at_the_planned_sizes() -> None:
    """Sizes are planned with a power of about 0.98, 0.78 and 0.93; these are beta-shaped numbers with mean 0.3."""
    rng = np.random.default_rng(5)

    def power(sd: float, gap: float, n: int) -> float:
        size = 0.3 * 0.7 / sd**2 - 1.0
        hits = [
            means.p_below(rng.beta(0.3 * size, 0.7 * size, n), 0.0, 1.0, 0.3 + gap, 0.05) < 0.05 for _ in range(400)
        ]
        return float(np.mean(hits))

    assert power(0.12, 0.10, 50) > 0.96
    assert 0.75 < power(0.20, 0.10, 50) < 0.92
    assert power(0.20, 0.05, 200) > 0.80


def test_smallest_n_is_the_first_at_which_perfect_numbers_suffice() -> None:
    for limit in (0.05, 0.1, 0.4, 0.9):
        counted = next(n for n in range(1, 500) if means.p_below(np.zeros(n), 0.0, 1.0, limit, 0.05) < 0.05)
        assert means.smallest_n_below(0.0, 0.0, 1.0, limit, 0.05) == counted
    assert means.smallest_n_below(0.0, 0.0, 1.0, 0.0, 0.05) is None
    assert means.smallest_n_above(1.0, -1.0, 1.0, 1.0, 0.05) is None
    assert means.smallest_n_above(1.0, -1.0, 1.0, 0.5, 0.05) == means.smallest_n_below(0.0, 0.0, 1.0, 0.25, 0.05)


def test_canonical_order_is_a_permutation_that_only_the_seed_and_n_fix() -> None:
    values = np.arange(20.0)
    assert sorted(means.canonical(values, 3).tolist()) == values.tolist()
    assert means.canonical(values, 3).tolist() == (means.canonical(values + 5.0, 3) - 5.0).tolist()
    assert means.canonical(values, 3).tolist() != means.canonical(values, 4).tolist()


def test_numbers_outside_their_range_have_no_bound() -> None:
    with pytest.raises(ValueError, match="must lie in 0 to 1"):
        means.lower_bound(np.array([0.5, 1.5]), 0.0, 1.0, 0.05)
    with pytest.raises(ValueError, match="0 numbers"):
        means.lower_bound(np.array([]), 0.0, 1.0, 0.05)
