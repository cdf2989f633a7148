"""Numbers of images that are not independent, because images lend each other something.

Were every image in its own mosaic and in those of others, as in ``mosaics``, shares would be exchangeable and still
not independent. ``planted_evidence`` makes its mosaics within disjoint sets, which are its units; so does
``model_dependent`` with the other images' maps that it needs as a floor (``tests/decide/test_sets.py`` has both).
Were the floors shared, as the mean over ten other images each, bounds that take them for independent would err in up
to 0.12 (n = 300); see ``floors``.
"""

from __future__ import annotations

import numpy as np

from calibrating.bounded import p_above, p_below
from calibrating.rows import ALPHA, Case, Wrong, chunks

OTHERS = 10


def mosaics(sigma: float) -> Case:
    """Return the simulation of shares of an image's strength in its mosaic with the next three.

    The strengths are exchangeable, so the mean share is 1/4 whatever they are.
    """

    def run(rng: np.random.Generator, n: int, draws: int) -> Wrong:
        passed = failed = 0
        for size in chunks(draws, 2_000):
            strength = np.exp(sigma * rng.standard_normal((size, n)))
            total = sum(np.roll(strength, -step, axis=1) for step in range(4))
            share = strength / total
            passed += int((p_above(share, 0.25) < ALPHA).sum())
            failed += int((p_below(share, 0.25) < ALPHA).sum())
        return Wrong(passed, failed, draws)

    return Case("images lent to mosaics (planted_evidence)", f"strengths lognormal(sigma {sigma:g})", run)


def floors(a: float, b: float, shared: bool) -> Case:
    """Return the simulation of IoUs with randomised models less a floor: one image's of its set, or ten others'.

    Maps are more or less typical, z in [0, 1], and two of them overlap by the product.
    """

    def run(rng: np.random.Generator, n: int, draws: int) -> Wrong:
        passed = failed = 0
        steps = [1 + index * (n - 1) // OTHERS for index in range(OTHERS)]
        for size in chunks(draws, 2_000):
            z = rng.beta(a, b, (size, n))
            others = np.mean([np.roll(z, -step, axis=1) for step in steps], axis=0)
            floor = z * (others if shared else rng.beta(a, b, (size, n)))
            excess = rng.uniform(0.2, 0.6, (size, n)) - floor
            limit = 0.4 - (a / (a + b)) ** 2
            passed += int((p_below(excess, limit, -1.0) < ALPHA).sum())
            failed += int((p_above(excess, limit, -1.0) < ALPHA).sum())
        return Wrong(passed, failed, draws, not shared)

    how = "shared by all images (not done)" if shared else "of disjoint sets"
    return Case("maps lent to floors (model_dependent)", f"floors {how}, beta({a:g}, {b:g})", run)


CASES = (mosaics(0.5), mosaics(1.5), floors(0.3, 0.3, False), floors(0.3, 0.3, True))


def check(rng: np.random.Generator) -> None:
    """The p-values are those of ``bounded``, which are checked there."""
