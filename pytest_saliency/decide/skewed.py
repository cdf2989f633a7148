"""The mean of skewed numbers: Hall's transformation of Student's t.

Where numbers are skewed, the mean and its standard error move together and t is skewed the other way. Hall ("On the
removal of skewness by transformation", JRSS B 54, 1992) adds what skewness contributes to t and makes the sum a cube,
so that it never turns back: with U = (mean - delta) / sd and g the skewness,

    H = sqrt(n) (U + g U^2 / 3 + g^2 U^3 / 27 + g / (6 n)),

which is held against Student's t with n - 1 degrees of freedom. The cube is undone in closed form, so bounds need
neither draws nor a search.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NO_SPREAD = 1e-9
NO_SKEW = 1e-6
FAR = 1e60


@dataclass(frozen=True)
class SkewedMean:
    """Size, mean, standard deviation (n - 1) and skewness (bias-adjusted, 0 below three) of some numbers.

    ``scale`` is the largest size among them; a standard deviation below ``NO_SPREAD`` times it is rounding.
    """

    n: int
    mean: float
    sd: float
    skewness: float
    scale: float

    def p_greater(self, delta: float = 0.0) -> float:
        """Return the p-value of "the mean is at most delta"; 0 or 1 for numbers without spread."""
        return self._tail(delta, 1.0)

    def p_less(self, delta: float = 0.0) -> float:
        """Return the p-value of "the mean is at least delta"; 0 or 1 for numbers without spread."""
        return self._tail(delta, -1.0)

    def lower(self, alpha: float) -> float:
        """Return the lower bound of the mean at level 1 - alpha; -inf for fewer than two numbers."""
        return self._bound(alpha, 1.0)

    def upper(self, alpha: float) -> float:
        """Return the upper bound of the mean at level 1 - alpha; inf for fewer than two numbers."""
        return self._bound(alpha, -1.0)

    def _flat(self) -> bool:
        return self.sd <= NO_SPREAD * self.scale

    def _tail(self, delta: float, side: float) -> float:
        from scipy.special import stdtr

        if self.n < 2:
            return 1.0
        if self._flat():
            return 0.0 if side * (self.mean - delta) > NO_SPREAD * (self.scale + abs(delta)) else 1.0
        g, u = self.skewness, (self.mean - delta) / self.sd
        if not abs(u) < FAR:  # its third power would overflow, and no p-value is that small
            return 0.0 if side * u > 0.0 else 1.0
        h = math.sqrt(self.n) * (u + g * u**2 / 3.0 + g**2 * u**3 / 27.0 + g / (6.0 * self.n))
        return float(stdtr(self.n - 1, -side * h))

    def _bound(self, alpha: float, side: float) -> float:
        from scipy.special import stdtrit

        if self.n < 2:
            return -side * math.inf
        if self._flat():
            return self.mean
        g = self.skewness
        h = side * float(stdtrit(self.n - 1, 1.0 - alpha)) / math.sqrt(self.n) - g / (6.0 * self.n)
        if abs(g) < NO_SKEW:
            return self.mean - self.sd * h
        cube = 1.0 + g * h
        return self.mean - self.sd * (math.copysign(abs(cube) ** (1.0 / 3.0), cube) - 1.0) * 3.0 / g


def skewed_mean(values: npt.NDArray[np.float64]) -> SkewedMean:
    """Return what Hall's transformation needs to know of ``values`` (n,)."""
    n = int(values.size)
    scale = float(np.max(np.abs(values))) if n else 0.0
    # Divided by their size first, so that the third power of large log-odds does not overflow.
    sized = values / scale if scale > 0.0 else values
    mean = float(np.mean(sized)) if n else math.nan
    sd = float(np.std(sized, ddof=1)) if n > 1 else math.nan
    skewness = 0.0
    if n > 2 and sd > NO_SPREAD:
        third = float(np.mean((sized - mean) ** 3)) / float(np.std(sized)) ** 3
        skewness = third * math.sqrt(n * (n - 1)) / (n - 2)
    size = scale if scale > 0.0 else 1.0
    return SkewedMean(n, mean * size, sd * size, skewness, scale)
