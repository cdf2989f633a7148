"""Intervals must cover the truth as often as they say: counted where that is possible, drawn where it is not.

Coverage of the Clopper-Pearson bounds is summed over all outcomes, with binomial probabilities as exact fractions. That
of the betting bound of a mean, and the level of the permutation test, are drawn from fixed seeds; a drawn share may
miss its level by 3.1 standard errors, which chance does to an exact one once in a thousand draws (normal
approximation). Since a bound that says nothing always covers, each is also asked to say something.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from pytest_saliency.decide import means, rates, swap
from pytest_saliency.decide.randomness import Stream
from pytest_saliency.evidence.selftest.item import Item

GROUP = "coverage"
ALPHA = 0.05
SEED = 20260102
REPEATS = 400
SAMPLE = 60
SWAPS, BLOCKS, BLOCK = 1000, 4, 4
ROOM = 3.1

Floats = NDArray[np.float64]

POPULATIONS: tuple[tuple[str, float, Callable[[Floats], Floats]], ...] = (
    ("one in ten is 1, the others 0", 0.1, lambda u: (u < 0.1).astype(np.float64)),
    ("many small, few large (u to the fourth)", 0.2, lambda u: u**4),
    ("as u, even", 0.5, lambda u: u),
)
"""Populations within [0, 1] as functions of even draws u, and their means."""


def items() -> Iterator[Item]:
    """Count and draw."""
    yield from _rates()
    yield from _means()
    yield from _permutations()


def _rates() -> Iterator[Item]:
    sizes, shares = (5, 20, 60), [Fraction(i, 40) for i in range(1, 40)]
    for name, side in (("upper", 1.0), ("lower", -1.0)):
        bound = rates.upper_bound if side > 0 else rates.lower_bound
        least = Fraction(1)
        for n in sizes:
            bounds = [bound(count, n, ALPHA) for count in range(n + 1)]
            for share in shares:
                covers = [count for count in range(n + 1) if side * bounds[count] >= side * float(share)]
                least = min(least, sum((_binomial(count, n, share) for count in covers), Fraction(0)))
        yield _at_least(
            f"Clopper-Pearson {name} bound, least coverage of {len(sizes) * len(shares)}", float(least), 0.0
        )
    none = rates.upper_bound(0, 20, ALPHA)
    right = 1.0 - ALPHA ** (1.0 / 20.0)
    yield _near("upper bound where 0 of 20 were seen: 1 - 0.05^(1/20)", none, right)
    yield _near("lower bound where 20 of 20 were seen: 0.05^(1/20)", rates.lower_bound(20, 20, ALPHA), 1.0 - right)


def _binomial(count: int, n: int, share: Fraction) -> Fraction:
    return math.comb(n, count) * share**count * (1 - share) ** (n - count)


def _means() -> Iterator[Item]:
    room = _room(REPEATS)
    for name, mean, made in POPULATIONS:
        samples = made(Stream(SEED, "means", name).uniform(REPEATS * SAMPLE)).reshape(REPEATS, SAMPLE)
        low = [means.lower_bound(sample, 0.0, 1.0, ALPHA) for sample in samples]
        high = [means.upper_bound(sample, 0.0, 1.0, ALPHA) for sample in samples]
        yield _at_least(f"betting lower bound of a mean, {name}", float(np.mean(np.asarray(low) <= mean)), room)
        yield _at_least(f"betting upper bound of a mean, {name}", float(np.mean(np.asarray(high) >= mean)), room)
    width = means.upper_bound(samples.ravel()[:400], 0.0, 1.0, ALPHA) - means.lower_bound(
        samples.ravel()[:400], 0.0, 1.0, ALPHA
    )
    yield Item(
        GROUP, "betting bounds of 400 even draws lie close together", "at most 0.15", f"{width:.3f}", width <= 0.15
    )


def _permutations() -> Iterator[Item]:
    """Own regions like any other must be taken for more in alpha of the draws at most; their advantage is covered."""
    shape = (SWAPS, BLOCKS, BLOCK, BLOCK)
    uniform = Stream(SEED, "swap").uniform(math.prod(shape)).reshape(shape)
    p_values = [swap.swap_reference(list(drawn), seed=i).p_greater() for i, drawn in enumerate(uniform)]
    kept = 1.0 - float(np.mean(np.asarray(p_values) < ALPHA))
    yield _at_least("swap test without an effect, share that does not reject", kept, _room(SWAPS))
    covered = [
        swap.swap_reference(list(drawn + 0.7 * np.eye(BLOCK)), seed=i).lower(ALPHA) <= 0.7
        for i, drawn in enumerate(uniform)
    ]
    yield _at_least("swap test's lower bound of an advantage of 0.7", float(np.mean(covered)), _room(SWAPS))
    certain = swap.swap_reference([np.eye(4), np.eye(5)], seed=0).p_greater()
    yield _near("swap test where only the own regions matter: one of 4! 5! orders", certain, 1.0 / 2880.0)


def _room(repeats: int) -> float:
    return ROOM * math.sqrt(ALPHA * (1.0 - ALPHA) / repeats)


def _at_least(name: str, share: float, room: float) -> Item:
    needed = 1.0 - ALPHA - room
    drawn = f" (0.95 less {room:.3f} for chance)" if room else ""
    return Item(GROUP, name, f"at least {needed:.3f}{drawn}", f"{share:.4f}", share >= needed)


def _near(name: str, value: float, right: float) -> Item:
    return Item(GROUP, name, f"{right:.10g}", f"{value:.10g}", abs(value - right) <= 1e-9)
