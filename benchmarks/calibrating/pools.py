"""Distributions whose mean is known exactly, so that a limit can be put on it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Sampler = Callable[[np.random.Generator, int, int], Floats]


@dataclass(frozen=True)
class Pool:
    """``sample(rng, draws, n)`` gives (draws, n) numbers with this ``mean``.

    ``claimed``: whether decisions on means without a range are said to hold there. ``rare``: the share of its numbers
    without which a sample says nothing of where the mean is. ``claimed_from``: the n from which on it is claimed.
    """

    name: str
    mean: float
    sample: Sampler
    claimed: bool = True
    rare: float | None = None
    claimed_from: int = 0

    def claimed_at(self, n: int) -> bool:
        """Return whether the decision is said to hold with n images: not where a sample may say nothing."""
        nothing = 0.0 if self.rare is None else (1.0 - self.rare) ** n
        return self.claimed and n >= self.claimed_from and nothing <= 0.05

    def mirrored(self) -> Pool:
        """Return the pool with every number's sign turned."""
        return replace(self, name=f"-{self.name}", mean=-self.mean, sample=lambda *asked: -self.sample(*asked))


def beta(a: float, b: float) -> Pool:
    return Pool(f"beta({a:g}, {b:g})", a / (a + b), lambda rng, r, n: rng.beta(a, b, (r, n)))


def two_point(share: float, low: float = 0.0, high: float = 1.0) -> Pool:
    """Return ``high`` with probability ``share``, else ``low``."""

    def sample(rng: np.random.Generator, r: int, n: int) -> Floats:
        return np.where(rng.random((r, n)) < share, high, low)

    return Pool(f"{high:g} for {share:.0%}, else {low:g}", low + share * (high - low), sample, rare=share)


def zeros(share: float, other: Pool) -> Pool:
    """Return 0 with probability ``share``, else a number of ``other``."""

    def sample(rng: np.random.Generator, r: int, n: int) -> Floats:
        return np.where(rng.random((r, n)) < share, 0.0, other.sample(rng, r, n))

    return Pool(f"0 for {share:.0%}, else {other.name}", (1.0 - share) * other.mean, sample)


def constant(value: float) -> Pool:
    return Pool(f"all {value:g}", value, lambda rng, r, n: np.full((r, n), value))


BOUNDED = (
    beta(2.0, 5.0),
    beta(0.5, 0.5),
    beta(8.0, 2.0),
    beta(40.0, 60.0),
    two_point(0.1),
    two_point(0.02),
    two_point(0.9),
    zeros(0.6, beta(2.0, 5.0)),
    constant(0.3),
)


def lognormal(sigma: float, claimed: bool = True) -> Pool:
    def sample(rng: np.random.Generator, r: int, n: int) -> Floats:
        return np.exp(sigma * rng.standard_normal((r, n)))

    return Pool(f"lognormal(sigma {sigma:g})", math.exp(0.5 * sigma**2), sample, claimed)


def noisy(pool: Pool, sd: float, claimed_from: int = 0) -> Pool:
    """Return the numbers of ``pool`` with normal noise added."""

    def sample(rng: np.random.Generator, r: int, n: int) -> Floats:
        return pool.sample(rng, r, n) + sd * rng.standard_normal((r, n))

    return Pool(f"{pool.name} + noise (sd {sd:g})", pool.mean, sample, pool.claimed, pool.rare, claimed_from)


def far_few(share: float, away: float) -> Pool:
    """Return standard normal numbers, of which a ``share`` lies ``away`` further up."""

    def sample(rng: np.random.Generator, r: int, n: int) -> Floats:
        return rng.standard_normal((r, n)) + away * (rng.random((r, n)) < share)

    return Pool(f"normal, {share:.0%} of them {away:g} sd further", share * away, sample, False, share)


SYMMETRIC = (
    Pool("normal", 0.0, lambda rng, r, n: rng.standard_normal((r, n))),
    Pool("Laplace", 0.0, lambda rng, r, n: rng.laplace(size=(r, n))),
    Pool("Student's t, 3 df", 0.0, lambda rng, r, n: rng.standard_t(3, size=(r, n))),
    two_point(0.5),
)
SKEWED = (
    Pool("exponential", 1.0, lambda rng, r, n: rng.standard_exponential((r, n))),
    Pool("gamma(1/2)", 0.5, lambda rng, r, n: rng.standard_gamma(0.5, (r, n))),
    lognormal(0.5),
    lognormal(1.0),
    noisy(lognormal(1.0), 0.25),
    noisy(lognormal(1.0), 0.5, claimed_from=50),
    noisy(lognormal(1.0), 1.0, claimed_from=100),
    two_point(0.2),
    lognormal(1.5, claimed=False),
    far_few(0.05, 5.0),
)
UNRANGED = (*SYMMETRIC, *SKEWED, *(pool.mirrored() for pool in SKEWED))
