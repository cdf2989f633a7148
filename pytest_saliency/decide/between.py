"""How far apart may the means of two groups be? P-values and bounds for differences of means, without equal spread.

Each mean is bounded by itself and the level is split between the two, which asks nothing of how the groups' numbers
are related: they may share clusters, differ in spread and in size. With bounds valid at every n the difference is so
too. For "a - b is below d" the test at level p holds as soon as some m separates them: "a is below m" at p / 2 and "b
is above m - d" at p / 2. The first p-value falls with m and the second grows, so the m at which they meet is found by
bisection, and twice the larger one there is the p-value of the difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pytest_saliency.decide import compare, means
from pytest_saliency.decide.values import FloatArray

BISECTIONS = 50


class Mean(Protocol):
    """The mean of one group, undefined units at their worst on the side that is asked for."""

    @property
    def ends(self) -> tuple[float, float]:
        """What the mean lies between, as far as anybody knows before looking."""
        ...

    def p_below(self, point: float) -> float:
        """Return the p-value of "the mean is at least ``point``"."""
        ...

    def p_above(self, point: float) -> float:
        """Return the p-value of "the mean is at most ``point``"."""
        ...

    def lower(self, alpha: float) -> float:
        """Return the lower bound at level 1 - ``alpha``."""
        ...

    def upper(self, alpha: float) -> float:
        """Return the upper bound at level 1 - ``alpha``."""
        ...


@dataclass(frozen=True, eq=False)
class Betting:
    """A mean of numbers within ``ends``: ``down`` and ``up`` have undefined units at the low and at the high end.

    ``alpha`` sizes the bets (means.py); p-values are valid at every level.
    """

    down: FloatArray
    up: FloatArray
    ends: tuple[float, float]
    alpha: float

    def p_below(self, point: float) -> float:
        if point > self.ends[1]:  # beyond the range it is certain
            return 0.0
        return means.p_below(self.up, *self.ends, point, self.alpha)

    def p_above(self, point: float) -> float:
        if point < self.ends[0]:
            return 0.0
        return means.p_above(self.down, *self.ends, point, self.alpha)

    def lower(self, alpha: float) -> float:
        return means.lower_bound(self.down, *self.ends, alpha)

    def upper(self, alpha: float) -> float:
        return means.upper_bound(self.up, *self.ends, alpha)


@dataclass(frozen=True, eq=False)
class Unranged:
    """A mean of numbers without a range, by sign flips and Hall's transformation (compare.py says what that assumes).

    ``reach`` is the largest size of a number that was seen, beyond which no mean is looked for.
    """

    down: compare.MeanReference
    up: compare.MeanReference
    reach: float

    @property
    def ends(self) -> tuple[float, float]:
        return -self.reach, self.reach

    def p_below(self, point: float) -> float:
        return self.up.p_less(point)

    def p_above(self, point: float) -> float:
        return self.down.p_greater(point)

    def lower(self, alpha: float) -> float:
        return self.down.lower(alpha)

    def upper(self, alpha: float) -> float:
        return self.up.upper(alpha)


def p_difference_below(a: Mean, b: Mean, limit: float) -> float:
    """Return the p-value of "mean a - mean b is at least ``limit``"."""
    return min(1.0, 2.0 * _meeting(a.p_below, lambda m: b.p_above(m - limit), *_span(a, b, limit)))


def p_difference_above(a: Mean, b: Mean, limit: float, bounds: int = 2) -> float:
    """Return the p-value of "mean a - mean b is at most ``limit``".

    ``bounds``: how many one-sided bounds the level is split between. For the two of this pair that is 2; where the
    largest difference of several groups is asked for, all their bounds have to hold at once.
    """
    return min(1.0, bounds * _meeting(lambda m: b.p_below(m - limit), a.p_above, *_span(a, b, limit)))


def largest_upper(groups: list[Mean], alpha: float) -> float:
    """Return the upper bound, at level 1 - alpha, of the largest difference of two groups' means.

    The largest difference is that of one pair, whichever it is, and the bound of every pair is below this one; so the
    level is split between two bounds only, however many groups there are.
    """
    highs = [group.upper(alpha / 2.0) for group in groups]
    lows = [group.lower(alpha / 2.0) for group in groups]
    return max(high - low for i, high in enumerate(highs) for j, low in enumerate(lows) if i != j)


def largest_lower(groups: list[Mean], alpha: float) -> float:
    """Return the lower bound, at level 1 - alpha, of the largest difference; never below 0.

    Which pair is the furthest apart was looked for, so that the two bounds of every group have to hold at once.
    """
    share = alpha / (2.0 * len(groups))
    highs = [group.upper(share) for group in groups]
    lows = [group.lower(share) for group in groups]
    found = max(low - high for i, low in enumerate(lows) for j, high in enumerate(highs) if i != j)
    return max(0.0, found)


def _span(a: Mean, b: Mean, limit: float) -> tuple[float, float]:
    """Return between which points the two means can be told apart."""
    (a_low, a_high), (b_low, b_high) = a.ends, b.ends
    return min(a_low, b_low + limit), max(a_high, b_high + limit)


def _meeting(falling: Callable[[float], float], growing: Callable[[float], float], low: float, high: float) -> float:
    """Return the smallest over m of the larger of two p-values, one of which falls with m while the other grows."""
    best = 1.0
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        one, other = falling(middle), growing(middle)
        best = min(best, max(one, other))
        if math.isclose(one, other, rel_tol=1e-12):
            break
        if one > other:
            low = middle
        else:
            high = middle
    return best
