"""The mean difference on the same images, of numbers without a range; and the paper's paired t.

If differences lie symmetrically about their mean, each one is as likely to have either sign once the mean is taken
out. All 2**n sign patterns are listed up to 13 images; beyond, 9,999 are drawn. The bound comes from inverting the
test (see reference.py). That is exact for symmetric differences only, so Hall's transformation (skewed.py) has to
reject as well, and the wider bound is shown.

Seen in simulation with the mean on the limit (4,000 runs, alpha 0.05; wrong PASS with sign flips alone, then with
both): normal 0.05, 0.045 at every n from 20 to 300; exponential, long tail beyond the limit, n = 20: 0.115, 0.07;
n = 30: 0.10, 0.06; n = 60: 0.08, 0.05; n = 120: 0.08, 0.06; n = 300: 0.065, 0.05; lognormal (sigma 1), n = 30: 0.15,
0.09; n = 120: 0.12, 0.08; n = 300: 0.09, 0.065; long tail on the other side 0.02-0.035. No test of a mean without a
range can hold for every distribution (Bahadur and Savage, 1956): where one image in twenty is ten standard deviations
off, n = 30 often has none of these, and both err in 17 %. So every decision that rests on this says what it assumes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_saliency.decide.randomness import Stream
from pytest_saliency.decide.reference import DRAWS, Reference
from pytest_saliency.decide.skewed import SkewedMean, skewed_mean

FloatArray = npt.NDArray[np.float64]

LISTED_UP_TO = 13
CHUNK = 4_000_000

ASSUMES = (
    "log-odds have no range, so bounds of their mean rest on sign flips (exact for changes symmetric about their mean)"
    " and on Hall's transformation for skewness, both of which must agree; with very skewed changes or a few very large"
    " ones a wrong verdict is more frequent than alpha"
)
"""The note of every decision that rests on ``mean_reference``."""


@dataclass(frozen=True)
class MeanReference:
    """Tests of one mean difference that all have to reject; bounds are the widest ones.

    ``skewed`` holds the differences with their stand-ins and, where there are any, those that were seen alone.
    """

    flips: Reference
    skewed: tuple[SkewedMean, ...]

    @property
    def exact(self) -> bool:
        """Whether all sign patterns were listed."""
        return self.flips.exact

    def p_greater(self, delta: float = 0.0) -> float:
        """Return the p-value of "the mean difference is at most delta"."""
        return max(self.flips.p_greater(delta), *(one.p_greater(delta) for one in self.skewed))

    def p_less(self, delta: float = 0.0) -> float:
        """Return the p-value of "the mean difference is at least delta"."""
        return max(self.flips.p_less(delta), *(one.p_less(delta) for one in self.skewed))

    def lower(self, alpha: float) -> float:
        """Return the lower bound of the mean difference at level 1 - alpha; -inf if there are too few images."""
        return min(self.flips.lower(alpha), *(one.lower(alpha) for one in self.skewed))

    def upper(self, alpha: float) -> float:
        """Return the upper bound of the mean difference at level 1 - alpha; inf if there are too few images."""
        return max(self.flips.upper(alpha), *(one.upper(alpha) for one in self.skewed))

    def standard_error(self) -> float:
        """Return the standard error of the mean difference as sign flips see it."""
        return self.flips.standard_error(self.flips.estimate())

    @property
    def method(self) -> str:
        """What the bounds are called."""
        kind = "all sign flips" if self.exact else f"{DRAWS:,} sign flips"
        return f"inverted permutation test ({kind}) and Hall's transformation, the wider"


def mean_reference(differences: FloatArray, seed: int, seen: FloatArray | None = None) -> MeanReference:
    """Return the references of the mean of ``differences`` (n,), some of which stand in for missing ones.

    ``seen``: the differences without stand-ins. A stand-in can make numbers more skewed, or less, and so lower the
    p-value of Hall's transformation by a little (seen in 1 of 10,000 made-up cases); of both, the larger one counts.
    """
    skewed = [skewed_mean(differences)]
    if seen is not None and seen.size < differences.size:
        skewed.append(skewed_mean(seen))
    return MeanReference(sign_flip_reference(differences, seed), tuple(skewed))


def extremes(one: FloatArray, other: FloatArray, limit: float) -> tuple[FloatArray, FloatArray]:
    """Return (n,) ``one`` - ``other`` with undefined differences at their largest, and at their smallest.

    Numbers without a range have no worst value. A missing one counts as large, on the side that is asked for, as the
    largest that was seen on any image in ``one`` or ``other``, or as ``limit`` if that is more. The difference then
    is at least as large as the largest one seen, and never on the near side of ``limit``: with a sign of its own in
    the sign-flip test it can only raise the p-value of "the mean is below ``limit``" (for the largest) and of "above"
    (for the smallest), however little the other images differ.
    """
    missing = np.isnan(one) | np.isnan(other)
    differences: FloatArray = one - other
    if not bool(missing.any()):
        return differences, differences
    known = np.concatenate([one[~np.isnan(one)], other[~np.isnan(other)], [limit]])
    reach = float(np.max(np.abs(known)))
    largest = float(np.max(np.abs(differences[~missing]), initial=0.0))
    up = np.where(np.isnan(one), reach, one) - np.where(np.isnan(other), -reach, other)
    down = np.where(np.isnan(one), -reach, one) - np.where(np.isnan(other), reach, other)
    return (
        np.where(missing, np.maximum(up, max(largest, limit)), differences),
        np.where(missing, np.minimum(down, min(-largest, limit)), differences),
    )


def sign_flip_reference(differences: FloatArray, seed: int) -> Reference:
    """Return the reference distribution of the sum of ``differences`` (n,) under random signs."""
    n = int(differences.size)
    if n <= LISTED_UP_TO:
        patterns = np.arange(2**n)
        signs = 1.0 - 2.0 * ((patterns[:, None] >> np.arange(n)) & 1)
        totals, fixed = signs @ differences, signs.sum(axis=1)
    else:
        stream = Stream(seed, "sign flips")
        totals, fixed = np.empty(DRAWS + 1), np.empty(DRAWS + 1)
        totals[0], fixed[0] = float(np.sum(differences)), float(n)
        rows = max(1, CHUNK // n)
        for start in range(1, DRAWS + 1, rows):
            count = min(rows, DRAWS + 1 - start)
            drawn = stream.signs(count * n).reshape(count, n).astype(np.float64)
            totals[start : start + count] = drawn @ differences
            fixed[start : start + count] = drawn.sum(axis=1)
    return Reference(
        observed=float(np.sum(differences)),
        n=n,
        totals=totals,
        fixed=fixed,
        scale=float(np.sum(np.abs(differences))),
        exact=n <= LISTED_UP_TO,
    )


def smallest_n(alpha: float) -> int:
    """Return the smallest number of images with enough sign patterns for p < alpha."""
    n = 1
    while 2**n * alpha <= 1.0:
        n += 1
    return n


def paired_t(differences: FloatArray) -> dict[str, float]:
    """Return the two-sided paired t test of the CASE paper: t, degrees of freedom, p. A read-out, never decides.

    Without spread there is no t; p is then 1 for no difference at all and NaN (no test) otherwise.
    """
    from scipy.special import stdtr

    n = int(differences.size)
    if n < 2:
        return {"t": math.nan, "df": float(max(0, n - 1)), "p": math.nan}
    mean, sd = float(np.mean(differences)), float(np.std(differences, ddof=1))
    if sd <= 1e-12 * max(1.0, abs(mean)):
        return {"t": math.nan, "df": float(n - 1), "p": 1.0 if abs(mean) <= 1e-12 else math.nan}
    t = mean / (sd / math.sqrt(n))
    return {"t": t, "df": float(n - 1), "p": float(2.0 * stdtr(n - 1, -abs(t)))}
