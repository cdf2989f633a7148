"""Bounds and p-values for the mean of bounded numbers, valid at every n.

Hedged-capital betting of Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting",
JRSS B 86, 2024 (Theorem 3 and the fixed-n variant of section 4.4), one side at a time. On data scaled to [0, 1]
the capital of somebody who bets on the mean being above m is

    K_t(m) = prod_{i <= t} (1 + l_i(m) (x_i - m)),   l_i(m) = min(sqrt(2 ln(1/alpha) / (n v_{i-1})), c / m)

with the running variance v_t = (1/4 + sum_{i<=t} (x_i - u_i)^2) / (t + 1) and the running mean
u_t = (1/2 + sum_{i<=t} x_i) / (t + 1), so that every bet is made before its number is seen. If the mean is at most
m the capital is a non-negative supermartingale, and by Ville's inequality max_t K_t(m) reaches 1/alpha with
probability at most alpha. One-sided bounds spend all of alpha on one side: ln(1/alpha) where the paper's two-sided
interval has ln(2/alpha). c = 3/4 is one of the paper's two defaults.

Every factor is non-increasing in m (below the cap its slope is -l, at the cap it is c (x/m - 1)) and positive,
hence so is max_t K_t(m), and bisection finds the bound.

The result depends on the order of the numbers. ``canonical`` fixes that order by a seeded permutation of numbers
which the caller has sorted by case id, so neither the order of files nor any order in time or class plays a part.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from pytest_saliency.decide.randomness import Stream

FloatArray = npt.NDArray[np.float64]

CAP = 0.75
BISECTIONS = 60


def canonical(values: FloatArray, seed: int) -> FloatArray:
    """Return ``values`` (sorted by case id) in the order in which they are bet on."""
    return values[Stream(seed, "betting order").permutation(values.size)]


def lower_bound(values: FloatArray, low: float, high: float, alpha: float) -> float:
    """Return the lower bound, at level 1 - alpha, of the mean of numbers within [low, high]."""
    scaled = _scaled(values, low, high)
    bets = _bets(scaled, alpha)
    wanted = -math.log(alpha)
    if _log_capital(scaled, bets, 0.0) < wanted:
        return low
    # Invariant: capital suffices at `inside` and not at `outside`; at m = 1 no factor exceeds 1.
    inside, outside = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = 0.5 * (inside + outside)
        if _log_capital(scaled, bets, middle) >= wanted:
            inside = middle
        else:
            outside = middle
    return low + inside * (high - low)


def upper_bound(values: FloatArray, low: float, high: float, alpha: float) -> float:
    """Return the upper bound, at level 1 - alpha, of the mean of numbers within [low, high]."""
    return -lower_bound(-values, -high, -low, alpha)


def p_above(values: FloatArray, low: float, high: float, limit: float, alpha: float) -> float:
    """Return the p-value of "the mean is at most ``limit``": small when the mean is above it.

    ``alpha`` only sizes the bets; the p-value, 1 / max_t K_t(limit), is valid at every level.
    """
    scaled = _scaled(values, low, high)
    point = min(1.0, max(0.0, (limit - low) / (high - low)))
    return math.exp(-_log_capital(scaled, _bets(scaled, alpha), point))


def p_below(values: FloatArray, low: float, high: float, limit: float, alpha: float) -> float:
    """Return the p-value of "the mean is at least ``limit``": small when the mean is below it."""
    return p_above(-values, -high, -low, -limit, alpha)


def smallest_n_below(best: float, low: float, high: float, limit: float, alpha: float) -> int | None:
    """Return the smallest n at which ``n`` numbers equal to ``best`` show a mean below ``limit``.

    None if no n up to a million does, as when the limit lies at ``best`` or beyond it.
    """
    if limit <= best:
        return None

    def shown(n: int) -> bool:
        return p_below(np.full(n, best), low, high, limit, alpha) < alpha

    n = 1
    while not shown(n):
        n *= 2
        if n > 1_000_000:
            return None
    least = n // 2
    while n - least > 1:
        middle = (least + n) // 2
        if shown(middle):
            n = middle
        else:
            least = middle
    return n


def smallest_n_above(best: float, low: float, high: float, limit: float, alpha: float) -> int | None:
    """Return the smallest n at which ``n`` numbers equal to ``best`` show a mean above ``limit``."""
    return smallest_n_below(-best, -high, -low, -limit, alpha)


def _scaled(values: FloatArray, low: float, high: float) -> FloatArray:
    scaled = (values - low) / (high - low)
    if scaled.size == 0 or not bool(np.all((scaled >= 0.0) & (scaled <= 1.0))):
        raise ValueError(f"the mean of {values.size} numbers cannot be bounded: they must lie in {low:g} to {high:g}")
    return scaled


def _bets(scaled: FloatArray, alpha: float) -> FloatArray:
    """Return the bets before their cap; the i-th uses only the numbers before the i-th."""
    n = scaled.size
    times = np.arange(1, n + 1)
    means = (0.5 + np.cumsum(scaled)) / (times + 1)
    variances = (0.25 + np.cumsum((scaled - means) ** 2)) / (times + 1)
    before = np.concatenate(([0.25], variances[:-1]))
    bets: FloatArray = np.sqrt(-2.0 * math.log(alpha) / (n * before))
    return bets


def _log_capital(scaled: FloatArray, bets: FloatArray, point: float) -> float:
    """Return max over t >= 0 of ln K_t(point); K_0 = 1."""
    capped = bets if point == 0.0 else np.minimum(bets, CAP / point)
    return max(0.0, float(np.max(np.cumsum(np.log1p(capped * (scaled - point))))))
