"""The swap test of ``faithful`` with all that has to agree, for many samples at once."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from calibrating.pools import SKEWED, SYMMETRIC, Pool
from calibrating.rows import ALPHA, Case, Floats, Marks, Wrong, chunks
from calibrating.unranged import rejected_less
from pytest_saliency.decide import faithful
from pytest_saliency.decide.swap import SwapBlock, block_sizes

SWAPS = 999
NOISE = 0.2


def drawn(rng: np.random.Generator, pool: Pool, size: int, n: int) -> list[Floats]:
    """Return blocks of drops (draws, m, m): effects of image and region, noise, and advantages with mean 0."""
    made = []
    for m in block_sizes(n):
        own = pool.sample(rng, size, m) - pool.mean
        drops = rng.normal(1.0, 1.0, (size, m, 1)) + rng.normal(0.0, 0.3, (size, 1, m))
        drops = drops + rng.normal(0.0, NOISE, (size, m, m))
        drops[:, range(m), range(m)] += own
        made.append(drops)
    return made


def advantages(blocks: list[Floats]) -> Floats:
    """Return (draws, n): the own drop less the mean drop by the block's other regions."""
    parts = []
    for drops in blocks:
        own = np.diagonal(drops, axis1=1, axis2=2)
        parts.append(own - (drops.sum(axis=2) - own) / (drops.shape[1] - 1))
    return np.concatenate(parts, axis=1)


def swaps_above(blocks: list[Floats], rng: np.random.Generator) -> Floats:
    """Return the p-values of "own regions cost no more" by random permutations within blocks, drawn once for all."""
    total = sum(np.trace(drops, axis1=1, axis2=2) for drops in blocks)
    others = np.zeros((len(blocks[0]), SWAPS))
    for drops in blocks:
        m = drops.shape[1]
        table = np.array(list(permutations(range(m))))
        scores = drops[:, np.arange(m), table].sum(axis=2)
        others += scores[:, rng.integers(0, len(table), SWAPS)]
    return (1.0 + (others >= total[:, None] - 1e-9).sum(axis=1)) / (SWAPS + 1.0)


def rejected(blocks: list[Floats], sign: float, rng: np.random.Generator) -> Marks:
    """Return for which samples the advantage is called above 0 (``sign`` 1) or below it (-1)."""
    found = rejected_less(-sign * advantages(blocks), rng)
    if found.any():
        found[found] = swaps_above([sign * drops[found] for drops in blocks], rng) < ALPHA
    return found


def case(pool: Pool) -> Case:
    def run(rng: np.random.Generator, n: int, draws: int) -> Wrong:
        passed = failed = 0
        for size in chunks(draws, 250):
            blocks = drawn(rng, pool, size, n)
            passed += int(rejected(blocks, 1.0, rng).sum())
            failed += int(rejected(blocks, -1.0, rng).sum())
        return Wrong(passed, failed, draws, pool.claimed_at(n))

    return Case("faithful, advantage on its margin", pool.name, run)


_CHOSEN = (SYMMETRIC[0], SKEWED[0], SKEWED[3], SKEWED[7])
CONSTANT = Pool("the same for all images", 0.0, lambda rng, r, n: np.zeros((r, n)))
CASES = tuple(case(pool) for pool in (CONSTANT, *_CHOSEN, *(pool.mirrored() for pool in _CHOSEN[1:])))


def check(rng: np.random.Generator) -> None:
    """Raise AssertionError where this and the package differ on the same numbers, but for what they draw."""
    for shift in (-0.5, 0.0, 0.5):
        blocks = drawn(rng, CONSTANT, 1, 24)
        start, packed = 0, []
        for drops in blocks:
            m = drops.shape[1]
            drops[:, range(m), range(m)] += shift
            packed.append(SwapBlock(tuple(range(start, start + m)), drops[0], np.zeros(m, dtype=bool)))
            start += m
        made = faithful.decide({"blur": packed}, min_advantage=0.0, seed=5).measures["advantage[blur]"]
        assert np.isclose(made.estimate, advantages(blocks).mean())
        swap_p = swaps_above(blocks, rng)[0]
        assert made.p_pass is not None
        assert made.p_pass >= swap_p - 0.05
        assert bool(rejected(blocks, 1.0, rng)[0]) == (made.p_pass < ALPHA)
        assert made.p_fail is not None
        assert bool(rejected(blocks, -1.0, rng)[0]) == (made.p_fail < ALPHA)
