"""What is decided from several decisions: the largest gap between groups, and a check over several trainings.

Both share their level out (Bonferroni), so that they err less often than alpha, and fewer draws show it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibrating.pools import SKEWED, Pool, beta, two_point
from calibrating.rows import ALPHA, Case, Wrong
from pytest_saliency.decide import between, compare, means, trainings
from pytest_saliency.decide.verdict import Verdict

FLIPS = 999
GROUPS = 3


def gap(pool: Pool, ranged: bool) -> Case:
    """Return the simulation of three groups of n images, the first of which is higher by exactly the limit."""
    shift = 0.1

    def group(values: np.ndarray, level: float) -> between.Mean:
        if ranged:
            return between.Betting(values, values, (0.0, 1.0), level)
        reference = compare.mean_reference(values, 1, draws=FLIPS)
        return between.Unranged(reference, reference, float(np.abs(values).max()))

    def run(rng: np.random.Generator, n: int, draws: int) -> Wrong:
        passed = failed = 0
        for _ in range(draws):
            values = pool.sample(rng, GROUPS, n)
            # A number of the first group is moved towards the end of the range, so that all stay within it.
            values[0] = values[0] + shift * (1.0 - values[0]) if ranged else values[0] + shift
            limit = shift * (1.0 - pool.mean) if ranged else shift
            true = np.full(GROUPS, pool.mean)
            true[0] += limit
            rows = [group(row, ALPHA / 2.0) for row in values]
            if _missed(rows, true, ALPHA / 2.0):
                passed += between.largest_upper(rows, ALPHA) < limit
            rows = [group(row, ALPHA / (2.0 * GROUPS)) for row in values] if ranged else rows
            if _missed(rows, true, ALPHA / (2.0 * GROUPS)):
                failed += between.largest_lower(rows, ALPHA) > limit
        return Wrong(int(passed), int(failed), draws)

    return Case("largest gap between three groups (n each)", pool.name, run, 20 if ranged else 200)


def _missed(groups: list[between.Mean], means_of: np.ndarray, level: float) -> bool:
    """Return whether any group's bounds miss its mean; where none does, no wrong verdict can come of them."""
    return any(
        min(one.p_below(float(mean)), one.p_above(float(mean))) < level
        for one, mean in zip(groups, means_of, strict=True)
    )


@dataclass(frozen=True)
class _Leg:
    p: float


@dataclass(frozen=True)
class _Decided:
    """As much of a decision as joining them reads."""

    verdict: Verdict
    legs: tuple[_Leg, ...]


def robust(of: int, need: int) -> Case:
    """Return the simulation of trainings that share half of their luck.

    For PASS one too few of them hold, the others lie on their limits; for FAIL just enough lie on theirs, and the
    others fail altogether.
    """

    def run(rng: np.random.Generator, n: int, draws: int) -> Wrong:
        from scipy.special import ndtr

        passed = failed = 0
        for _ in range(draws):
            p = ndtr(np.sqrt(0.5) * rng.standard_normal() + np.sqrt(0.5) * rng.standard_normal(of))
            clear = np.zeros(of)
            on_limit = np.where(np.arange(of) < need - 1, clear, p)
            passed += int((on_limit < ALPHA / (of - need + 1)).sum() >= need)
            broken = np.where(np.arange(of) < need, p, clear)
            failed += int((broken < ALPHA / need).sum() > of - need)
        return Wrong(passed, failed, draws)

    return Case("a check over several trainings (n: trainings)", f"{need} of {of} needed", run, 1, (of,))


CASES = (
    gap(beta(2.0, 5.0), True),
    gap(two_point(0.2), True),
    gap(SKEWED[0], False),
    gap(SKEWED[3], False),
    robust(5, 5),
    robust(5, 4),
)


def check(rng: np.random.Generator) -> None:
    """Raise AssertionError where bounds and p-values of the package tell another verdict."""
    for _ in range(5):
        rows = [means.canonical(row, 1) for row in beta(2.0, 5.0).sample(rng, 2, 60)]
        for limit in (0.02, 0.1, 0.2, 0.4):
            two = [between.Betting(row, row, (0.0, 1.0), ALPHA / 2.0) for row in rows]
            p = max(between.p_difference_below(two[i], two[1 - i], limit) for i in (0, 1))
            assert (p < ALPHA) == (between.largest_upper([*two], ALPHA) < limit)
    good = [trainings.Training(f"t{k}", _Decided(Verdict.PASS, (_Leg(0.04),))) for k in range(5)]  # type: ignore[arg-type]
    assert all(one.p_pass == 0.04 for one in good)
