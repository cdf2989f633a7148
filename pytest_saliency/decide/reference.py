"""The reference distribution of a permutation test, and the bounds that come from inverting it.

A statistic T and its values T* under permutations that keep some of its n terms in place (``fixed`` of them; for
sign flips, the sum of the signs). If every own term were larger by delta than it should be, the statistic without
that advantage would be T - n delta, and T* - fixed delta under a permutation. So a permutation counts against
"the advantage exceeds delta" exactly when (T - T*) / (n - fixed) <= delta, and both bounds are order statistics of
these ratios: no search, and one set of permutations serves every delta.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

DRAWS = 9_999
TIE = 1e-9


@dataclass(frozen=True)
class Reference:
    """``totals`` and ``fixed`` hold T* and its fixed terms, the identity among them; ``n`` is the number of terms.

    ``scale`` is the size of what was summed; sums closer than ``TIE`` times it count as tied (rounding must not
    tell permutations apart that exchange equal numbers). ``exact`` says that all permutations were listed.
    """

    observed: float
    n: int
    totals: FloatArray
    fixed: FloatArray
    scale: float
    exact: bool

    def p_greater(self, delta: float = 0.0) -> float:
        """Return the p-value of "the advantage is at most delta": (1 + #{T* >= T}) / (1 + draws)."""
        gap = (self.totals - delta * self.fixed) - (self.observed - delta * self.n)
        return float(np.mean(gap >= -self._slack(delta)))

    def p_less(self, delta: float = 0.0) -> float:
        """Return the p-value of "the advantage is at least delta": (1 + #{T* <= T}) / (1 + draws)."""
        gap = (self.totals - delta * self.fixed) - (self.observed - delta * self.n)
        return float(np.mean(gap <= self._slack(delta)))

    def estimate(self) -> float:
        """Return the advantage at which T equals its reference mean."""
        return (self.observed - float(np.mean(self.totals))) / (self.n - float(np.mean(self.fixed)))

    def lower(self, alpha: float) -> float:
        """Return the lower bound of the advantage at level 1 - alpha; -inf if there are too few permutations."""
        ratios = np.sort(self._ratios())
        rank = self._rank(alpha, ratios.size)
        return float(ratios[rank - 1]) if rank >= 1 else -math.inf

    def upper(self, alpha: float) -> float:
        """Return the upper bound of the advantage at level 1 - alpha; inf if there are too few permutations."""
        ratios = np.sort(self._ratios())[::-1]
        rank = self._rank(alpha, ratios.size)
        return float(ratios[rank - 1]) if rank >= 1 else math.inf

    def standard_error(self, delta: float) -> float:
        """Return the standard error of the advantage as the reference sees it once ``delta`` is taken out."""
        spread = float(np.std(self.totals - delta * self.fixed))
        return spread / (self.n - float(np.mean(self.fixed)))

    def _slack(self, delta: float) -> float:
        return TIE * (self.scale + abs(delta) * self.n)

    def _moves(self) -> npt.NDArray[np.bool_]:
        moves: npt.NDArray[np.bool_] = self.fixed < self.n
        return moves

    def _ratios(self) -> FloatArray:
        moves = self._moves()
        ratios: FloatArray = (self.observed - self.totals[moves]) / (self.n - self.fixed[moves])
        return ratios

    def _rank(self, alpha: float, moving: int) -> int:
        """Return which ratio is the first delta that is not rejected.

        Permutations that move nothing count at every delta; delta is rejected while they and the ratios at or
        below it are fewer than alpha times all permutations.
        """
        size = self.totals.size
        return math.ceil(alpha * size - 1e-9) - (size - moving)
