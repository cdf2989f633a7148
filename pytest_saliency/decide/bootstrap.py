"""BCa bootstrap bounds of a mean (Efron, JASA 82, 1987). Reported beside the deciding bounds, never decides."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from pytest_saliency.decide import effort
from pytest_saliency.decide.randomness import Stream

RESAMPLES = 9_999
CHUNK = 2_000_000


def bca_mean(values: npt.NDArray[np.float64], alpha: float, seed: int) -> tuple[float, float]:
    """Return two one-sided BCa bounds of the mean, each at about level 1 - alpha, from 9,999 resamples.

    A sample without spread has no resampling distribution and gives its mean twice; an empty one gives NaN.
    """
    n = int(values.size)
    if n == 0 or not effort.described():
        return math.nan, math.nan
    mean = float(np.mean(values))
    deviations = values - mean
    spread = float(np.sum(deviations**2))
    if n == 1 or spread <= n * (1e-12 * max(1.0, abs(mean))) ** 2:
        return mean, mean
    resampled = np.sort(_resampled_means(values, seed))
    below = np.sum(resampled < mean) + 0.5 * np.sum(resampled == mean)
    # Kept off 0 and 1, where the correction would be infinite.
    share = min(1.0 - 0.5 / RESAMPLES, max(0.5 / RESAMPLES, float(below) / RESAMPLES))
    bias = float(ndtri(share))
    # Jackknife acceleration of a mean: the deviations of leave-one-out means are -(x - mean) / (n - 1).
    acceleration = float(np.sum(deviations**3)) / (6.0 * spread**1.5)
    low, high = (_corrected(quantile, bias, acceleration) for quantile in (alpha, 1.0 - alpha))
    return float(np.quantile(resampled, low)), float(np.quantile(resampled, high))


def _corrected(quantile: float, bias: float, acceleration: float) -> float:
    shifted = bias + float(ndtri(quantile))
    scale = 1.0 - acceleration * shifted
    if scale <= 0.0:
        return 0.0 if quantile < 0.5 else 1.0
    return float(ndtr(bias + shifted / scale))


def _resampled_means(values: npt.NDArray[np.float64], seed: int) -> npt.NDArray[np.float64]:
    stream = Stream(seed, "bootstrap")
    n = int(values.size)
    rows = max(1, CHUNK // n)
    means = np.empty(RESAMPLES)
    for start in range(0, RESAMPLES, rows):
        count = min(rows, RESAMPLES - start)
        picked = stream.integers(n, count * n).reshape(count, n)
        means[start : start + count] = values[picked].mean(axis=1)
    return means
