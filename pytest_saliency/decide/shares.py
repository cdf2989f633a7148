"""Bounds and p-values for a share, in the words of ``means``: numbers are 0 or 1, and their mean is the share.

Exact (Clopper and Pearson), where ``means`` only needs the numbers to be bounded. ``alpha`` sizes no bet here.
"""

from __future__ import annotations

from pytest_saliency.decide import rates
from pytest_saliency.decide.means import FloatArray


def lower_bound(values: FloatArray, low: float, high: float, alpha: float) -> float:
    """Return the lower bound, at level 1 - alpha, of the share of ones."""
    return rates.lower_bound(_count(values), values.size, alpha)


def upper_bound(values: FloatArray, low: float, high: float, alpha: float) -> float:
    """Return the upper bound, at level 1 - alpha, of the share of ones."""
    return rates.upper_bound(_count(values), values.size, alpha)


def p_above(values: FloatArray, low: float, high: float, limit: float, alpha: float) -> float:
    """Return the p-value of "the share is at most ``limit``"."""
    return rates.p_share_above(_count(values), values.size, min(1.0, max(0.0, limit)))


def p_below(values: FloatArray, low: float, high: float, limit: float, alpha: float) -> float:
    """Return the p-value of "the share is at least ``limit``"."""
    return rates.p_share_below(_count(values), values.size, min(1.0, max(0.0, limit)))


def smallest_n_below(best: float, low: float, high: float, limit: float, alpha: float) -> int | None:
    """Return the smallest n at which none in n shows a share below ``limit``; None if no n does."""
    return rates.smallest_n_below(limit, alpha) if best < limit else None


def smallest_n_above(best: float, low: float, high: float, limit: float, alpha: float) -> int | None:
    """Return the smallest n at which all of n show a share above ``limit``; None if no n does."""
    return rates.smallest_n_below(1.0 - limit, alpha) if best > limit else None


def _count(values: FloatArray) -> int:
    return round(float(values.sum()))
