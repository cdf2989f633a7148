"""Rank tests on one number per image: Wilcoxon's signed ranks, the exact sign test, Hodges and Lehmann's estimate.

Numbers within ``SAME`` of each other count as equal: agreement is a ratio of sums, and whether it lands exactly on
a limit must not depend on the last bits that a device leaves.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from pytest_saliency.decide.rates import p_share_above

FloatArray = npt.NDArray[np.float64]

SAME = 1e-9
EXACT_UP_TO = 50


def wilcoxon(differences: FloatArray, alternative: Literal["less", "greater"]) -> float:
    """Return the one-sided p-value of Wilcoxon's signed-rank test, zeros split between both signs (``zsplit``).

    Exact up to 50 differences without ties and zeros, else the normal approximation corrected for ties. Which of
    the two is used is decided here and not by SciPy's ``auto``, whose choice differs between releases.
    A sample of zeros gives 1 and never NaN.
    """
    from scipy.stats import wilcoxon as signed_rank

    cleaned = rounded(differences)
    sizes = np.abs(cleaned)
    if not bool(np.any(sizes > 0.0)):
        return 1.0
    if cleaned.size == 1:
        # One difference has one rank, for or against; SciPy's approximation has no spread to divide by.
        return 0.5 if (cleaned[0] < 0.0) == (alternative == "less") else 1.0
    exact = cleaned.size <= EXACT_UP_TO and float(sizes.min()) > 0.0 and np.unique(sizes).size == cleaned.size
    # "approx" is the name that every supported SciPy knows; later ones say "asymptotic" too.
    method: Literal["exact", "approx"] = "exact" if exact else "approx"
    result = signed_rank(cleaned, zero_method="zsplit", alternative=alternative, method=method)
    return min(1.0, float(result.pvalue))


def rank_biserial(differences: FloatArray) -> float:
    """Return (rank sum of negatives - rank sum of positives) / all ranks: 1 when every difference is negative."""
    from scipy.stats import rankdata

    cleaned = rounded(differences)
    if cleaned.size == 0:
        return float("nan")
    ranks = rankdata(np.abs(cleaned))
    return float(-np.sum(ranks * np.sign(cleaned)) / np.sum(ranks))


def sign_test(wins: int, n: int) -> float:
    """Return the exact one-sided p-value of "at most half win"; ties must have been counted as losses."""
    return p_share_above(wins, n, 0.5)


def hodges_lehmann(values: FloatArray) -> float:
    """Return the Hodges-Lehmann estimate: the median of all means of two values, each value paired with itself too.

    Found by counting pairs on sorted values, so that memory stays linear in their number.
    """
    ordered = np.sort(values)
    n = ordered.size
    if n == 0:
        return float("nan")
    pairs = n * (n + 1) // 2
    return 0.5 * (_pair_mean(ordered, (pairs - 1) // 2) + _pair_mean(ordered, pairs // 2))


def _pair_mean(ordered: FloatArray, rank: int) -> float:
    """Return the mean of two values with ``rank`` others below it, to the last bits of a float."""
    low, high = float(ordered[0]), float(ordered[-1])
    places = np.arange(ordered.size)
    for _ in range(80):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        reach = np.searchsorted(ordered, 2.0 * middle - ordered, side="right")
        count = int(np.sum(np.maximum(0, reach - places)))
        if count > rank:
            high = middle
        else:
            low = middle
    return high


def rounded(differences: FloatArray) -> FloatArray:
    """Return differences with noise below ``SAME`` removed, so that equal ones tie and zeros are zeros."""
    return np.round(differences, 9) + 0.0
