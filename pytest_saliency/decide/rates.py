"""Exact bounds and tests for a share of images (Clopper and Pearson, Biometrika 26, 1934)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, betaincinv


def upper_bound(count: int, n: int, alpha: float) -> float:
    """Return the one-sided upper Clopper-Pearson bound, at level 1 - alpha, of a share seen ``count`` in ``n``."""
    _check(count, n)
    return 1.0 if count == n else float(betaincinv(count + 1, n - count, 1.0 - alpha))


def lower_bound(count: int, n: int, alpha: float) -> float:
    """Return the one-sided lower Clopper-Pearson bound, at level 1 - alpha, of a share seen ``count`` in ``n``."""
    _check(count, n)
    return 0.0 if count == 0 else float(betaincinv(count, n - count + 1, alpha))


def p_share_below(count: int, n: int, share: float) -> float:
    """Return P(X <= count), X binomial(n, share): small when the true share is below ``share``."""
    _check(count, n)
    return 1.0 if count == n else float(betainc(n - count, count + 1, 1.0 - share))


def p_share_above(count: int, n: int, share: float) -> float:
    """Return P(X >= count), X binomial(n, share): small when the true share is above ``share``."""
    _check(count, n)
    return 1.0 if count == 0 else float(betainc(count, n - count + 1, share))


def smallest_n_below(share: float, alpha: float) -> int | None:
    """Return the smallest n at which no event in n bounds the share below ``share``; None if none does.

    With no event the upper bound is 1 - alpha**(1/n), so n must exceed log(alpha) / log(1 - share).
    """
    if share <= 0.0:
        return None
    if share >= 1.0:
        return 1
    n = max(1, math.floor(math.log(alpha) / math.log1p(-share)))
    while (1.0 - share) ** n >= alpha:
        n += 1
    return n


def median_bounds(values: npt.NDArray[np.float64], alpha: float, low: float, high: float) -> tuple[float, float]:
    """Return exact one-sided bounds of the median, each at level 1 - alpha, from order statistics.

    They are the inversion of the exact sign test, so the upper one is below a limit exactly when the
    Clopper-Pearson bound of the share of values at or above that limit is below one half.
    ``low`` and ``high`` are the ends of the range, returned where n is too small for an order statistic.
    """
    ordered = np.sort(values)
    n = int(ordered.size)
    most = largest_count_below(n, 0.5, alpha)
    if most < 0:
        return low, high
    return float(ordered[most]), float(ordered[n - 1 - most])


def largest_count_below(n: int, share: float, alpha: float) -> int:
    """Return the largest count in ``n`` with P(X <= count) < alpha under ``share``; -1 if there is none."""
    low, high = -1, n
    while high - low > 1:
        middle = (low + high) // 2
        if p_share_below(middle, n, share) < alpha:
            low = middle
        else:
            high = middle
    return low


def _check(count: int, n: int) -> None:
    if not 0 <= count <= n or n == 0:
        raise ValueError(f"a share of {count} in {n} has no bound; the count must be from 0 to n and n at least 1")
