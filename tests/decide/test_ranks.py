from __future__ import annotations

from itertools import product
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pytest_saliency.decide import ranks

Side = Literal["less", "greater"]


@pytest.mark.parametrize("side", ["less", "greater"])
def test_exact_wilcoxon_counts_all_sign_patterns(side: Side) -> None:
    differences = np.array([-0.31, 0.12, -0.27, -0.08, 0.05, -0.4, -0.22])
    order = stats.rankdata(np.abs(differences))
    observed = order[differences > 0].sum()
    sums = [float(np.dot(order, pattern)) for pattern in product((0, 1), repeat=7)]
    hits = [total <= observed if side == "less" else total >= observed for total in sums]
    assert ranks.wilcoxon(differences, side) == pytest.approx(np.mean(hits))


@pytest.mark.parametrize("n", [8, 50, 51, 200])
def test_wilcoxon_without_ties_is_scipy_s_default(n: int) -> None:
    differences = np.random.default_rng(n).normal(-0.1, 0.3, n)
    for side in ("less", "greater"):
        expected = stats.wilcoxon(differences, zero_method="zsplit", alternative=side).pvalue
        assert ranks.wilcoxon(differences, side) == pytest.approx(expected, abs=1e-12)


def test_wilcoxon_with_ties_and_zeros_is_the_corrected_normal_approximation() -> None:
    differences = np.array([-0.3] * 6 + [-0.1] * 4 + [0.0] * 3 + [0.2] * 2)
    order = stats.rankdata(np.abs(differences))
    positive = order[differences > 0].sum() + order[differences == 0].sum() / 2
    n = differences.size
    _, repeats = np.unique(order, return_counts=True)
    variance = (n * (n + 1) * (2 * n + 1) - 0.5 * np.sum(repeats**3 - repeats)) / 24
    z = (positive - n * (n + 1) / 4) / np.sqrt(variance)
    assert ranks.wilcoxon(differences, "less") == pytest.approx(stats.norm.cdf(z))


@given(st.lists(st.sampled_from([-0.5, -0.1, 0.0, 1e-12, 0.1, 0.5]), min_size=1, max_size=60))
@settings(max_examples=150, deadline=None)
def test_wilcoxon_is_never_nan(values: list[float]) -> None:
    for side in ("less", "greater"):
        assert 0.0 <= ranks.wilcoxon(np.array(values), side) <= 1.0


def test_equal_samples() -> None:
    assert ranks.wilcoxon(np.zeros(30), "less") == 1.0
    assert ranks.wilcoxon(np.full(30, -0.2), "less") < 1e-6
    assert ranks.wilcoxon(np.full(30, -0.2), "greater") > 0.999
    assert ranks.wilcoxon(np.array([-0.2]), "less") == 0.5


@pytest.mark.parametrize(("wins", "n"), [(0, 4), (5, 5), (20, 31)])
def test_sign_test_is_the_binomial_test(wins: int, n: int) -> None:
    assert ranks.sign_test(wins, n) == pytest.approx(stats.binomtest(wins, n, alternative="greater").pvalue)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=25))
@settings(max_examples=100, deadline=None)
def test_hodges_lehmann_is_the_median_of_all_pair_means(values: list[float]) -> None:
    array = np.array(values)
    rows, columns = np.triu_indices(array.size)
    expected = float(np.median((array[rows] + array[columns]) / 2))
    assert ranks.hodges_lehmann(array) == pytest.approx(expected, abs=1e-12)


def test_rank_biserial_by_hand() -> None:
    # Ranks 1, 2, 3; negatives hold 1 + 3.
    assert ranks.rank_biserial(np.array([-0.1, 0.2, -0.3])) == pytest.approx((4 - 2) / 6)
    assert ranks.rank_biserial(np.full(4, -0.1)) == 1.0
    assert np.isnan(ranks.rank_biserial(np.array([])))
