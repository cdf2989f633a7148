"""The mean difference on the same images, of numbers without a range; and the paper's paired t.

If differences lie symmetrically about their mean, each one is as likely to have either sign once the mean is taken
out. All 2**n sign patterns are listed up to 13 images; beyond, 9,999 are drawn. The bound comes from inverting the
test (see reference.py). That is exact for symmetric differences only, so two further tests have to reject as well, and
the widest bound is shown: Hall's transformation (skewed.py), which corrects for the skewness that was seen, and random
weights that leave room for a tail that was not (unseen.py).

Seen in simulation with the mean on the limit (``benchmarks/calibration.py``: 20,000 draws, alpha 0.05; n = 20, 50,
100, 300; the more frequent of wrong PASS and wrong FAIL): normal 0.036, 0.045, 0.046, 0.047; Laplace and Student's t
with 3 degrees of freedom at most 0.049; exponential and gamma(1/2) at most 0.037; lognormal (sigma 1) 0.033, 0.035,
0.036, 0.037, where sign flips alone err in 0.18, 0.14, 0.11, 0.09 and with Hall's transformation in 0.11, 0.09, 0.07,
0.06. Beyond what is claimed: lognormal (sigma 1) with normal noise of sd 1 added 0.069, 0.060, 0.049, 0.043;
lognormal (sigma 1.5) 0.054, 0.062, 0.063, 0.057; normal with one number in twenty five standard deviations off 0.082,
0.049, 0.035, 0.041. No test of a mean without a range can hold for every distribution (Bahadur and Savage, 1956), and
a sample may hold none of what is rarer than about 3 in n. So every decision that rests on this says what it assumes.

The random weights cost little without skewness (of normal numbers with an effect that is shown with probability 0.74
at n = 20, or 0.78 at n = 100, they leave 0.67 and 0.77), and much where the longer tail is the one that speaks
against the claim (exponential: 0.21 instead of 0.56 at n = 20, 0.51 instead of 0.69 at n = 100); a longer tail on the
other side costs nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_saliency.decide.randomness import Stream
from pytest_saliency.decide.reference import DRAWS, Reference
from pytest_saliency.decide.skewed import SkewedMean, skewed_mean
from pytest_saliency.decide.unseen import UnseenTail, unseen_tail

FloatArray = npt.NDArray[np.float64]

LISTED_UP_TO = 13
CHUNK = 4_000_000

ASSUMES = (
    "log-odds have no range, so bounds of their mean rest on sign flips (exact for changes symmetric about their mean),"
    " on Hall's transformation for skewness and on random weights that leave room for an unseen tail, all of which must"
    " agree. At 20 to 300 images they were seen to err no more often than alpha + 0.01 with normal, Laplace,"
    " exponential, gamma and lognormal (sigma up to 1) changes, with the long tail on either side; they cannot hold"
    " where the mean rests on images rarer than about 3 in n, of which a sample may hold none"
)
"""The note of every decision that rests on ``mean_reference``."""


@dataclass(frozen=True)
class MeanReference:
    """Tests of one mean difference that all have to reject; bounds are the widest ones.

    ``others`` holds Hall's transformation and the random weights, each of the differences with their stand-ins and,
    where there are any, of those that were seen alone.
    """

    flips: Reference
    others: tuple[SkewedMean | UnseenTail, ...]

    @property
    def exact(self) -> bool:
        """Whether all sign patterns were listed."""
        return self.flips.exact

    def p_greater(self, delta: float = 0.0) -> float:
        """Return the p-value of "the mean difference is at most delta"."""
        return max(self.flips.p_greater(delta), *(one.p_greater(delta) for one in self.others))

    def p_less(self, delta: float = 0.0) -> float:
        """Return the p-value of "the mean difference is at least delta"."""
        return max(self.flips.p_less(delta), *(one.p_less(delta) for one in self.others))

    def lower(self, alpha: float) -> float:
        """Return the lower bound of the mean difference at level 1 - alpha; -inf if there are too few images."""
        return min(self.flips.lower(alpha), *(one.lower(alpha) for one in self.others))

    def upper(self, alpha: float) -> float:
        """Return the upper bound of the mean difference at level 1 - alpha; inf if there are too few images."""
        return max(self.flips.upper(alpha), *(one.upper(alpha) for one in self.others))

    def standard_error(self) -> float:
        """Return the standard error of the mean difference as sign flips see it."""
        return self.flips.standard_error(self.flips.estimate())

    @property
    def method(self) -> str:
        """What the bounds are called."""
        kind = "all sign flips" if self.exact else f"{DRAWS:,} sign flips"
        return f"{kind} inverted, Hall's transformation and random weights, the widest"


def mean_reference(
    differences: FloatArray, seed: int, seen: FloatArray | None = None, draws: int = DRAWS
) -> MeanReference:
    """Return the references of the mean of ``differences`` (n,), some of which stand in for missing ones.

    ``seen``: the differences without stand-ins. A stand-in can make numbers more skewed, or less, and so lower the
    p-value of Hall's transformation by a little (seen in 1 of 10,000 made-up cases); of both, the larger one counts.
    ``draws``: how many sign patterns, where they are not listed; a decision takes all.
    """
    samples = [differences] if seen is None or seen.size == differences.size else [differences, seen]
    others = tuple(test(sample) for sample in samples for test in (skewed_mean, unseen_tail))
    return MeanReference(sign_flip_reference(differences, seed, draws), others)


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


def sign_flip_reference(differences: FloatArray, seed: int, draws: int = DRAWS) -> Reference:
    """Return the reference distribution of the sum of ``differences`` (n,) under random signs."""
    n = int(differences.size)
    if n <= LISTED_UP_TO:
        patterns = np.arange(2**n)
        signs = 1.0 - 2.0 * ((patterns[:, None] >> np.arange(n)) & 1)
        totals, fixed = signs @ differences, signs.sum(axis=1)
    else:
        stream = Stream(seed, "sign flips")
        totals, fixed = np.empty(draws + 1), np.empty(draws + 1)
        totals[0], fixed[0] = float(np.sum(differences)), float(n)
        rows = max(1, CHUNK // n)
        for start in range(1, draws + 1, rows):
            count = min(rows, draws + 1 - start)
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
