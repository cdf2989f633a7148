from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from pytest_saliency.decide import rates


@pytest.mark.parametrize(("count", "n"), [(0, 5), (5, 5), (3, 17), (156, 202), (1, 1)])
@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.2])
def test_bounds_and_tests_are_those_of_scipy(count: int, n: int, alpha: float) -> None:
    upper = binomtest(count, n, 0.5, alternative="less").proportion_ci(1 - alpha, method="exact").high
    lower = binomtest(count, n, 0.5, alternative="greater").proportion_ci(1 - alpha, method="exact").low
    assert rates.upper_bound(count, n, alpha) == pytest.approx(upper, abs=1e-9)
    assert rates.lower_bound(count, n, alpha) == pytest.approx(lower, abs=1e-9)
    for share in (0.1, 0.5, 0.9):
        below = binomtest(count, n, share, alternative="less").pvalue
        above = binomtest(count, n, share, alternative="greater").pvalue
        assert rates.p_share_below(count, n, share) == pytest.approx(below, rel=1e-9)
        assert rates.p_share_above(count, n, share) == pytest.approx(above, rel=1e-9)


def test_coverage_is_exact_over_all_counts() -> None:
    n, alpha = 12, 0.05
    counts = np.arange(n + 1)
    for share in np.linspace(0.01, 0.99, 23):
        missed = [rates.upper_bound(int(count), n, alpha) < share for count in counts]
        assert float(np.sum(binom.pmf(counts, n, share)[missed])) <= alpha


def test_smallest_n_table() -> None:
    table = {0.5: 5, 0.3: 9, 0.2: 14, 0.1: 29, 0.05: 59}
    for share, n in table.items():
        assert rates.smallest_n_below(share, 0.05) == n
        assert rates.upper_bound(0, n, 0.05) < share <= rates.upper_bound(0, n - 1, 0.05)
    assert rates.smallest_n_below(0.0, 0.05) is None
    assert rates.smallest_n_below(1.0, 0.05) == 1


@pytest.mark.parametrize("n", [5, 6, 20, 61])
def test_median_bound_and_share_bound_are_one_test(n: int) -> None:
    rng = np.random.default_rng(n)
    for _ in range(40):
        values, limit = rng.random(n), float(rng.random())
        low, high = rates.median_bounds(values, 0.05, 0.0, 1.0)
        assert (high < limit) == (rates.upper_bound(int(np.sum(values >= limit)), n, 0.05) < 0.5)
        assert (low > limit) == (rates.lower_bound(int(np.sum(values > limit)), n, 0.05) > 0.5)


def test_median_bounds_of_too_few_values_are_the_range() -> None:
    assert rates.median_bounds(np.array([0.2, 0.3, 0.4, 0.5]), 0.05, 0.0, 1.0) == (0.0, 1.0)


def test_largest_count_is_found_by_counting_up() -> None:
    for n in (1, 4, 5, 30):
        counted = max((k for k in range(n + 1) if binom.cdf(k, n, 0.3) < 0.05), default=-1)
        assert rates.largest_count_below(n, 0.3, 0.05) == counted


def test_no_images_have_no_bound() -> None:
    with pytest.raises(ValueError, match="0 in 0"):
        rates.upper_bound(0, 0, 0.05)
    with pytest.raises(ValueError, match="4 in 3"):
        rates.lower_bound(4, 3, 0.05)
    assert not math.isnan(rates.upper_bound(0, 1, 0.05))
