"""Shares of images, by counts: exact tests, and what rests on them."""

from __future__ import annotations

import numpy as np

from calibrating.rows import ALPHA, Case, Wrong
from pytest_saliency.decide import drift_reference, rates


def share(decision: str, limit: float, lost: float = 0.0) -> Case:
    """Return the simulation of a share on its limit; ``lost`` of the images are unknown and count both ways."""

    def run(rng: np.random.Generator, n: int, draws: int) -> Wrong:
        below = np.array([rates.p_share_below(k, n, limit) < ALPHA for k in range(n + 1)])
        above = np.array([rates.p_share_above(k, n, limit) < ALPHA for k in range(n + 1)])
        # For PASS unknown images count as beyond: known ones and these are together on the limit; for FAIL known alone.
        perhaps = rng.binomial(n, limit, draws)
        surely = rng.binomial(n, limit, draws)
        return Wrong(int(below[perhaps].sum()), int(above[surely].sum()), draws)

    return Case(decision, f"{limit:.0%}" + (f", {lost:.0%} of them unknown" if lost else ""), run)


def ranked(limits: int) -> Case:
    """Return the simulation of a candidate among null checkpoints of its own kind; the excess always alarms.

    ``n`` is the number of nulls: the smallest with which this many limits can alarm at all.
    """
    m = drift_reference.needed(limits, ALPHA)

    def run(rng: np.random.Generator, n: int, draws: int) -> Wrong:
        failed = 0
        for _ in range(draws):
            # Means of one training move together.
            shared = rng.standard_normal(n + 1)
            p = []
            for _ in range(limits):
                values = shared + rng.standard_normal(n + 1)
                found = drift_reference.rank(float(values[0]), list(values[1:]), "<=", ALPHA)
                p.append(drift_reference.further_p({"one": found}, normal=False)["one"])
            failed += limits * min(p) < ALPHA
        return Wrong(None, int(failed), draws)

    return Case("rank among null checkpoints (n: nulls)", f"{limits} limit{'' if limits == 1 else 's'}", run, 1, (m,))


CASES = (
    share("share of images (Clopper-Pearson)", 0.05),
    share("share of images (Clopper-Pearson)", 0.1),
    share("share of images (Clopper-Pearson)", 0.5),
    share("share of drifted images", 0.2, 0.03),
    ranked(1),
    ranked(4),
)


def check(rng: np.random.Generator) -> None:
    """Nothing is written anew here."""
