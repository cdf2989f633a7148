"""Two methods on the same images: a sign-flip permutation test of the mean difference, and the paper's paired t.

If neither method is better, each image's difference is as likely to have either sign. All 2**n sign patterns are
listed up to 13 images; beyond, 9,999 are drawn. The bound comes from inverting the test (see reference.py).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from pytest_saliency.decide.randomness import Stream
from pytest_saliency.decide.reference import DRAWS, Reference

FloatArray = npt.NDArray[np.float64]

LISTED_UP_TO = 13
CHUNK = 4_000_000


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
