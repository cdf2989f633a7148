"""The mean of numbers whose tail may be longer than what was seen of it.

A sample of a skewed distribution often misses the few large numbers that its mean rests on. Then it looks narrow, and
Student's t, sign flips and Hall's transformation alike take a mean for smaller than it is. The bound here lets one
further number stand beyond the seen ones, and gives all of them random weights: with c the n numbers and the further
one, each less delta, and independent standard exponential E,

    p("the mean is at least delta") = P(sum of E_i c_i >= 0).

With the end of the range as the further number this is Gaffke's bound of a bounded mean (Gaffke, "Three test statistics
for a nonparametric one-sided hypothesis on the mean of a nonnegative variable", Mathematical Methods of Statistics 14,
2005; Learned-Miller and Thomas, "A new confidence interval for the mean of a bounded random variable", 2019). Numbers
without a range have no such end, so it is read off the sample, from how much longer one tail is than the other:

    median + (1 + 50 / n) * max(0, (largest - median) - (median - smallest)),

and mirrored for the lower tail. A symmetric sample puts it near its median, where it changes next to nothing; 1 + 50/n
was chosen by simulation, as a small factor of that form with which lognormal numbers (sigma 1), also with normal noise
added (sd 0.25, from n = 50 on 0.5, from n = 100 on 1), err no more often than alpha + 0.01
(``benchmarks/calibration.py``). Like anything that is read off a sample, it knows nothing of a tail of which nothing
was seen.

The probability is found by inverting the characteristic function (Gil-Pelaez, Biometrika 38, 1951),

    P = 1/2 + 1/pi * integral over t > 0 of sin(sum of arctan(c_i t)) / (t prod sqrt(1 + c_i^2 t^2)),

by Gauss and Legendre's rule on pieces of ln t that are short where the integrand turns fast. Nothing is drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

ROOM = 50.0
START = -8.0
ENOUGH = 23.0
NODES = 16
SLICE = 100_000
FAR = 45.0
SAME = 1e-10


@dataclass(frozen=True)
class UnseenTail:
    """Tests and bounds of the mean of ``values`` (n,), divided by ``scale``, with one number beyond each tail."""

    values: FloatArray
    scale: float
    below: float
    above: float

    def p_less(self, delta: float = 0.0) -> float:
        """Return the p-value of "the mean is at least delta"."""
        return self._p(delta / self.scale, self.above, 1.0)

    def p_greater(self, delta: float = 0.0) -> float:
        """Return the p-value of "the mean is at most delta"."""
        return self._p(delta / self.scale, self.below, -1.0)

    def upper(self, alpha: float) -> float:
        """Return the upper bound of the mean at level 1 - alpha; inf for fewer than two numbers."""
        return self._bound(alpha, self.above, 1.0)

    def lower(self, alpha: float) -> float:
        """Return the lower bound of the mean at level 1 - alpha; -inf for fewer than two numbers."""
        return self._bound(alpha, self.below, -1.0)

    def _p(self, delta: float, further: float, side: float) -> float:
        if self.values.size < 2:
            return 1.0
        return at_least_zero(side * (np.append(self.values, further) - delta))

    def _bound(self, alpha: float, further: float, side: float) -> float:
        """Return where the p-value falls to alpha: above the mean for side 1, below it for -1."""
        if self.values.size < 2:
            return side * math.inf
        numbers = np.append(self.values, further)
        near, far = (float(numbers.min()), float(numbers.max()))[:: int(side)]
        if abs(far - near) <= SAME * max(1.0, abs(far)):
            return far * self.scale
        from scipy.optimize import brentq

        found = brentq(
            lambda delta: at_least_zero(side * (numbers - delta)) - alpha, near, far, xtol=SAME * abs(far - near)
        )
        return float(found) * self.scale


def unseen_tail(values: FloatArray) -> UnseenTail:
    """Return the tests of the mean of ``values`` (n,) that allow for a tail that was not seen."""
    n = int(values.size)
    largest = float(np.max(np.abs(values))) if n else 0.0
    scale = largest if largest > 0.0 else 1.0
    sized = values / scale
    if n < 2:
        return UnseenTail(sized, scale, math.nan, math.nan)
    middle, low, high = float(np.median(sized)), float(sized.min()), float(sized.max())
    excess = (1.0 + ROOM / n) * ((high - middle) - (middle - low))
    return UnseenTail(sized, scale, middle + min(0.0, excess), middle + max(0.0, excess))


def at_least_zero(c: FloatArray) -> float:
    """Return P(sum of E_i c_i >= 0) for independent standard exponential E, to about 1e-10."""
    size = float(np.sum(np.abs(c)))
    if size == 0.0 or bool(np.all(c >= 0.0)):
        return 1.0
    if bool(np.all(c <= 0.0)):
        return 0.0
    c = c / size
    total = float(np.sum(c))
    # The mean of the sum in its standard deviations: beyond FAR, what is left is below exp(1/4 - FAR / 2) (Chernoff).
    away = total / math.sqrt(float(np.sum(c**2)))
    if abs(away) > FAR:
        return 1.0 if away > 0.0 else 0.0
    nodes, weights = _rule()
    # Below START the integrand is t times the total, up to t**3.
    place, found = START, math.exp(START) * total
    while True:
        turning, falling = _speeds(c, math.exp(place))
        step = min(2.0, 4.0 / (turning + falling))
        t = np.exp(place + 0.5 * step * (1.0 + nodes))
        angle, log_modulus = _polar(c, t)
        found += 0.5 * step * float(np.sum(weights * np.sin(angle) * np.exp(-log_modulus)))
        place += step
        if log_modulus[-1] > ENOUGH:
            return min(1.0, max(0.0, 0.5 + found / math.pi))


@cache
def _rule() -> tuple[FloatArray, FloatArray]:
    """Return Gauss and Legendre's points and weights on -1 to 1."""
    points, weights = np.polynomial.legendre.leggauss(NODES)
    return points, weights


def _speeds(c: FloatArray, t: float) -> tuple[float, float]:
    """Return by how much the integrand's angle and the logarithm of its modulus change by unit of ln t."""
    products = c * t
    shares = products / (1.0 + products**2)
    return abs(float(np.sum(shares))), float(np.sum(shares * products))


def _polar(c: FloatArray, t: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return angle and logarithm of the modulus of prod (1 + i c t) for every t."""
    angle, log_modulus = np.zeros(t.size), np.zeros(t.size)
    for start in range(0, c.size, SLICE):
        products = np.outer(t, c[start : start + SLICE])
        angle += np.sum(np.arctan(products), axis=1)
        log_modulus += 0.5 * np.sum(np.log1p(products**2), axis=1)
    return angle, log_modulus
