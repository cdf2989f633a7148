"""The smallest effect that a check can detect with 80 % power at its n.

For a share the answer is exact. For means, rank tests and permutation tests it is a normal approximation with the
spread that was measured, and is labelled so where it is shown.
"""

from __future__ import annotations

import math

from scipy.special import betaincinv, log_ndtr, ndtr, ndtri

from pytest_saliency.decide.rates import largest_count_below

POWER = 0.80


def share_below(n: int, limit: float, alpha: float) -> float:
    """Return the largest true share that is shown to lie below ``limit`` with 80 % power; NaN if none is.

    Exact: with k the largest count whose Clopper-Pearson bound lies below the limit, it is the share at which
    a binomial count stays at k or below with probability 0.8.
    """
    count = largest_count_below(n, limit, alpha)
    if count < 0:
        return math.nan
    return 1.0 if count == n else float(betaincinv(count + 1, n - count, 1.0 - POWER))


def betting_gap(n: int, sd: float, width: float, alpha: float) -> float:
    """Return the gap between mean and limit that the betting bound shows with 80 % power (approximate).

    With bets l = sqrt(2 L / (n v)), L = ln(1/alpha), the log capital is close to a Brownian motion whose mean after
    n numbers is g sqrt(2 L n / v) - L and whose variance is 2 L; PASS means that its maximum reaches L. The prior
    variance 1/4 (of the range) with which betting starts is added to v at the weight it has on average,
    ln(n + 1) / (n + 1). ``width`` is the width of the range.
    """
    if not sd >= 0.0:
        return math.nan
    log = -math.log(alpha)
    low, high = -log, 20.0 * log
    while high - low > 1e-9 * log:
        middle = 0.5 * (low + high)
        if _reaches(middle, log) < POWER:
            low = middle
        else:
            high = middle
    spread = math.sqrt(sd**2 + 0.25 * width**2 * math.log(n + 1) / (n + 1))
    return (high + log) * spread / math.sqrt(2.0 * log * n)


def _reaches(drift: float, log: float) -> float:
    """Return P(max over [0, 1] of a Brownian motion with this drift and variance 2 ``log`` reaches ``log``)."""
    scale = math.sqrt(2.0 * log)
    return float(ndtr((drift - log) / scale)) + math.exp(drift + float(log_ndtr((-log - drift) / scale)))


def betting_n(gap: float, sd: float, width: float, alpha: float) -> int | None:
    """Return about how many images show a mean that lies ``gap`` inside its limit; None if no number would."""
    if not gap > 0.0:
        return None
    n = 4
    while betting_gap(n, sd, width, alpha) > gap:
        n = math.ceil(n * 1.1)
        if n > 1_000_000:
            return None
    return n


def wilcoxon_gap(n: int, sd: float, alpha: float) -> float:
    """Return the shift that Wilcoxon's one-sided test shows with 80 % power (normal approximation).

    The signed-rank test is as efficient as a t test on 3/pi as many normal observations.
    """
    if n == 0:
        return math.nan
    return normal_gap(sd / math.sqrt(n), alpha) * math.sqrt(math.pi / 3.0)


def normal_gap(standard_error: float, alpha: float) -> float:
    """Return the effect that a one-sided test with this standard error shows with 80 % power (approximate)."""
    return (float(ndtri(1.0 - alpha)) + float(ndtri(POWER))) * standard_error
