"""One line of a calibration table, and what it is held against."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_saliency.decide import rates

Floats = NDArray[np.float64]
Marks = NDArray[np.bool_]

ALPHA = 0.05
ROOM = 0.01
SURE = 0.05
"""The bound of a rate is a Clopper-Pearson bound at level 1 - SURE."""


@dataclass(frozen=True)
class Wrong:
    """What one simulation found: how many of ``draws`` samples were decided wrongly, each way.

    None where that side cannot be wrong. ``claimed``: whether the decision is said to hold there.
    """

    passed: int | None
    failed: int | None
    draws: int
    claimed: bool = True


@dataclass(frozen=True)
class Row:
    """One decision on one pool with n images."""

    decision: str
    pool: str
    n: int
    wrong: Wrong
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether both upper bounds are at most alpha + 0.01."""
        return all(bound(count, self.wrong.draws) <= ALPHA + ROOM for count in self.counts())

    def counts(self) -> list[int]:
        """Return the counts that were taken."""
        return [count for count in (self.wrong.passed, self.wrong.failed) if count is not None]

    def cells(self) -> list[str]:
        """Return the cells of the table."""
        verdict = "yes" if self.holds else "NO"
        if not self.wrong.claimed:
            verdict = f"not claimed ({'below' if self.holds else 'above'})"
        sides = [shown(count, self.wrong.draws) for count in (self.wrong.passed, self.wrong.failed)]
        return [self.decision, self.pool, str(self.n), *sides, f"{self.wrong.draws:,}", verdict]


HEADINGS = ("decision", "pool, its mean on the limit", "n", "wrong PASS", "wrong FAIL", "draws", "bound at most 0.06")

Simulation = Callable[[np.random.Generator, int, int], Wrong]
"""From a generator, n and the number of draws to what went wrong."""


@dataclass(frozen=True)
class Case:
    """A decision on a pool. ``dear`` divides the number of draws; ``sizes`` replaces the usual n."""

    decision: str
    pool: str
    simulate: Simulation
    dear: int = 1
    sizes: tuple[int, ...] = ()


def bound(count: int, draws: int) -> float:
    """Return the upper Clopper-Pearson bound of a rate."""
    return rates.upper_bound(count, draws, SURE)


def shown(count: int | None, draws: int) -> str:
    """Return a rate with its upper bound."""
    return "" if count is None else f"{count / draws:.4f} (< {math.ceil(1e4 * bound(count, draws)) / 1e4:.4f})"


def chunks(draws: int, each: int = 500) -> Iterator[int]:
    """Split the draws into parts that fit into memory."""
    for start in range(0, draws, each):
        yield min(each, draws - start)


def generator(seed: int, *names: object) -> np.random.Generator:
    """Return the generator of one simulation: another name, another stream."""
    from pytest_saliency.decide.randomness import seed_from

    return np.random.default_rng([seed, seed_from(*map(str, names))])
