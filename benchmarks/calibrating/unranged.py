"""Means without a range: sign flips, Hall's transformation and random weights for many samples at once.

The decisions themselves draw 9,999 sign patterns for every sample. Here 999 serve all samples of a chunk, and what is
dear is asked only of samples that everything before has rejected. ``check`` holds this against the package.
"""

from __future__ import annotations

import math

import numpy as np

from calibrating.pools import UNRANGED, Pool
from calibrating.rows import ALPHA, Case, Floats, Marks, Wrong, chunks
from pytest_saliency.decide import compare
from pytest_saliency.decide.unseen import unseen_tail

FLIPS = 999


def hall_less(values: Floats) -> Floats:
    """Return the p-values of "the mean is at least 0" by Hall's transformation, written anew."""
    from scipy.stats import skew, t

    n = values.shape[1]
    sd = values.std(axis=1, ddof=1)
    flat = sd < 1e-9 * np.abs(values).max(axis=1)
    safe = np.where(flat, 1.0, sd)
    with np.errstate(all="ignore"):
        g = np.where(flat, 0.0, np.nan_to_num(skew(values, axis=1, bias=False)))
    u = values.mean(axis=1) / safe
    h = math.sqrt(n) * (u + g * u**2 / 3.0 + g**2 * u**3 / 27.0 + g / (6.0 * n))
    sure = np.where(values.mean(axis=1) < -1e-9 * np.abs(values).max(axis=1), 0.0, 1.0)
    return np.where(flat, sure, t.cdf(h, n - 1))


def flips_less(values: Floats, rng: np.random.Generator) -> Floats:
    """Return the p-values of "the mean is at least 0" by random signs, the same for all rows."""
    n = values.shape[1]
    signs = rng.integers(0, 2, (n, FLIPS)) * 2.0 - 1.0
    slack = 1e-9 * np.abs(values).sum(axis=1)
    hits = (values @ signs <= (values.sum(axis=1) + slack)[:, None]).sum(axis=1)
    return (1.0 + hits) / (FLIPS + 1.0)


def rejected_less(values: Floats, rng: np.random.Generator) -> Marks:
    """Return for which rows the mean is called less than 0."""
    found = (hall_less(values) < ALPHA) & (flips_less(values, rng) < ALPHA)
    for row in np.flatnonzero(found):
        found[row] = unseen_tail(values[row]).p_less() < ALPHA
    return found


def simulated(pool: Pool) -> Case:
    """Return the simulation of one pool: PASS says that the mean is below its limit, FAIL that it is above."""

    def run(rng: np.random.Generator, n: int, draws: int) -> Wrong:
        passed = failed = 0
        for size in chunks(draws):
            values = pool.sample(rng, size, n) - pool.mean
            passed += int(rejected_less(values, rng).sum())
            failed += int(rejected_less(-values, rng).sum())
        return Wrong(passed, failed, draws, pool.claimed_at(n))

    return Case("mean without a range", pool.name, run)


CASES = tuple(simulated(pool) for pool in UNRANGED)


def check(rng: np.random.Generator) -> None:
    """Raise AssertionError where this and the package tell another p-value (up to the signs that were drawn)."""
    for pool in UNRANGED:
        for n in (20, 50):
            values = pool.sample(rng, 5, n) - pool.mean
            ours, flips = hall_less(values), flips_less(values, rng)
            for row in range(len(values)):
                reference = compare.mean_reference(values[row], row)
                assert math.isclose(reference.others[0].p_less(), float(ours[row]), abs_tol=1e-9)
                assert abs(reference.flips.p_less() - flips[row]) < 0.08
