"""The rule of ``class_sensitive`` with all its legs, for many samples at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import beta, wilcoxon

from calibrating.rows import ALPHA, Case, Floats, Wrong, chunks
from pytest_saliency.decide import class_sensitive, ranks, rates
from pytest_saliency.decide.verdict import Verdict

LIMIT = 0.5
EXACT_UP_TO = 50
Draw = Callable[[np.random.Generator, int, int], tuple[Floats, Floats]]
"""Agreements of top-1 and top-2, and of the top-1 map with its repeat; (draws, n) each, NaN where undefined."""


def signed_ranks(differences: Floats, alternative: str) -> Floats:
    """Return Wilcoxon's p-values by row, exact where the package takes the exact ones."""
    rounded = np.round(differences, 9)
    ordered = np.sort(np.abs(rounded), axis=1)
    plain = (ordered[:, 0] > 0.0) & (np.diff(ordered, axis=1) > 0.0).all(axis=1)
    exact = plain & (differences.shape[1] <= EXACT_UP_TO)
    found = np.ones(len(differences))
    for chosen, method in ((exact, "exact"), (~exact & (ordered[:, -1] > 0.0), "approx")):
        if chosen.any():
            found[chosen] = wilcoxon(
                rounded[chosen], zero_method="zsplit", alternative=alternative, method=method, axis=1
            ).pvalue
    return found


def verdicts(cross: Floats, again: Floats, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Return for which samples the rule says PASS and for which FAIL; too many undefined images are let through."""
    n = cross.shape[1]
    below = np.array([rates.p_share_below(k, n, 0.5) < ALPHA for k in range(n + 1)])
    above = np.array([rates.p_share_above(k, n, 0.5) < ALPHA for k in range(n + 1)])
    worst, best = np.where(np.isnan(cross), 1.0, cross), np.where(np.isnan(cross), 0.0, cross)
    wins = (np.where(np.isnan(again), 0.0, again) - worst > ranks.SAME).sum(axis=1)
    passed = below[n - (worst < limit - ranks.SAME).sum(axis=1)] & above[wins]
    failed = above[(best > limit + ranks.SAME).sum(axis=1)]
    if passed.any():
        passed[passed] = signed_ranks(worst[passed] - limit, "less") < ALPHA
    if failed.any():
        failed[failed] = signed_ranks(best[failed] - limit, "greater") < ALPHA
    return passed, failed


def case(pool: str, draw: Draw, limit: float = LIMIT) -> Case:
    def run(rng: np.random.Generator, n: int, draws: int) -> Wrong:
        passed = failed = 0
        for size in chunks(draws, 2_000):
            one, other = verdicts(*draw(rng, size, n), limit)
            passed += int(one.sum())
            failed += int(other.sum())
        return Wrong(passed, failed, draws)

    return Case("class_sensitive (full rule)", pool, run)


def of(a: float, b: float) -> Draw:
    """Agreements of a beta distribution, and repeats that always agree more."""
    return lambda rng, r, n: (rng.beta(a, b, (r, n)), np.ones((r, n)))


def two_valued(rng: np.random.Generator, r: int, n: int) -> tuple[Floats, Floats]:
    return np.where(rng.random((r, n)) < 0.5, 0.1, 0.55), np.ones((r, n))


def with_lost(rng: np.random.Generator, r: int, n: int) -> tuple[Floats, Floats]:
    """4 % undefined, and with them half of the images at the limit or above."""
    cross = np.where(rng.random((r, n)) < 0.5 / 0.96, rng.uniform(0.0, 0.5, (r, n)), rng.uniform(0.5, 0.6, (r, n)))
    return np.where(rng.random((r, n)) < 0.04, np.nan, cross), np.ones((r, n))


def noise(rng: np.random.Generator, r: int, n: int) -> tuple[Floats, Floats]:
    """Maps drawn at random: far apart for two classes, and just as far for the repeat."""
    return rng.beta(4.0, 40.0, (r, n)), rng.beta(4.0, 40.0, (r, n))


CASES = (
    case("symmetric: beta(5, 5)", of(5.0, 5.0)),
    case("skewed to the right: beta(2, 5), the limit its median", of(2.0, 5.0), float(beta.ppf(0.5, 2, 5))),
    case("skewed to the left: beta(5, 2), the limit its median", of(5.0, 2.0), float(beta.ppf(0.5, 5, 2))),
    case("two values: 0.1 and 0.55, half each", two_valued),
    case("4 % undefined", with_lost),
    case("noise: the repeat agrees more in half of the images", noise),
)


def check(rng: np.random.Generator) -> None:
    """Raise AssertionError where this and the package differ on the same numbers."""
    for draw in (of(5.0, 5.0), of(2.5, 5.0), of(5.0, 2.5), two_valued, with_lost, noise):
        for n in (20, 100):
            cross, again = draw(rng, 3, n)
            passed, failed = verdicts(cross, again, LIMIT)
            for row in range(3):
                made = class_sensitive.decide(cross[row], again[row], max_agreement=LIMIT, max_undefined=1.0, seed=1)
                assert (made.verdict is Verdict.PASS) == bool(passed[row] and not failed[row])
                assert (made.verdict is Verdict.FAIL) == bool(failed[row])
