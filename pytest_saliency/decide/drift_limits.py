"""The limits of ``no_semantic_drift``: which measure each one binds, from which side, within which range.

A further measure is one more entry here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pytest_saliency.decide import means
from pytest_saliency.decide.ranks import SAME
from pytest_saliency.decide.tolerance import Tolerance, Way
from pytest_saliency.decide.values import FloatArray


@dataclass(frozen=True)
class Limited:
    """One measure of drift. ``low`` to ``high`` is its range, ``perfect`` the value of an unchanged map.

    ``side`` is what the limit named ``limit`` asks of the mean: ``"<="``, ``">="`` or ``"abs<="``.
    ``moved`` is the lead of a headline about its failure.
    """

    name: str
    limit: str
    title: str
    low: float
    high: float
    perfect: float
    side: Literal["<=", ">=", "abs<="]
    moved: str

    def beyond(self, values: FloatArray, limit: float) -> npt.NDArray[np.bool_]:
        """Return which images lie beyond the limit on their own; an undefined one does not."""
        shown = np.where(np.isnan(values), self.perfect, values)
        if self.side == ">=":
            return shown < limit - SAME
        sized = np.abs(shown) if self.side == "abs<=" else shown
        return sized > limit + SAME

    def p_pass(self, down: FloatArray, up: FloatArray, limit: float, alpha: float) -> float:
        """Return the p-value of "the mean is not within the limit".

        ``down`` and ``up`` are the numbers with undefined images at the low and at the high end of the range.
        """
        if self.side == "<=":
            return means.p_below(up, self.low, self.high, limit, alpha)
        if self.side == ">=":
            return means.p_above(down, self.low, self.high, limit, alpha)
        return max(
            means.p_below(up, self.low, self.high, limit, alpha),
            means.p_above(down, self.low, self.high, -limit, alpha),
        )

    def p_fail(self, best: FloatArray, limit: float, alpha: float) -> float:
        """Return the p-value of "the mean is within the limit"; ``best`` has undefined images at their best value.

        An absolute limit can be left on two sides, which are two questions: the smaller p-value is doubled.
        """
        if self.side == "<=":
            return means.p_above(best, self.low, self.high, limit, alpha)
        if self.side == ">=":
            return means.p_below(best, self.low, self.high, limit, alpha)
        above = means.p_above(best, self.low, self.high, limit, alpha)
        below = means.p_below(best, self.low, self.high, -limit, alpha)
        return min(1.0, 2.0 * min(above, below))

    def smallest_n(self, limit: float, alpha: float) -> int | None:
        """Return the smallest number of unchanged maps that shows the mean to be within the limit, if any does."""
        if self.side == ">=":
            return means.smallest_n_above(self.perfect, self.low, self.high, limit, alpha)
        return means.smallest_n_below(self.perfect, self.low, self.high, limit, alpha)

    def widened(self, limit: float, by: float) -> float:
        """Return the limit that is easier to keep by ``by``, harder if that is negative."""
        return limit - by if self.side == ">=" else limit + by

    def shifted(self, values: FloatArray, drift: Way, limit: float, tolerance: Tolerance) -> FloatArray:
        """Return ``values`` moved by the tolerance so that every image shows more drift (1) or less (-1)."""
        if self.side == ">=":
            return tolerance.moved(values, -drift, limit, self.low, self.high)
        sign = np.where(values < 0.0, -1.0, 1.0) if self.side == "abs<=" else np.ones(values.size)
        return tolerance.moved(values, sign * drift, sign * limit, self.low, self.high)

    def margin(self, estimate: float, limit: float) -> float:
        """Return how far the estimate lies inside the limit; negative beyond it."""
        if self.side == ">=":
            return estimate - limit
        return limit - (abs(estimate) if self.side == "abs<=" else estimate)


LIMITED = (
    Limited("iou_drop", "max_iou_drop", "mean IoU drop", 0.0, 1.0, 0.0, "<=", "the model looks elsewhere"),
    Limited(
        "displacement",
        "max_displacement",
        "mean displacement",
        0.0,
        1.0,
        0.0,
        "<=",
        "the model looks elsewhere",
    ),
    Limited(
        "correlation",
        "min_correlation",
        "mean pattern correlation",
        -1.0,
        1.0,
        1.0,
        ">=",
        "the pattern of evidence changed",
    ),
    Limited(
        "concentration_change",
        "max_concentration_change",
        "mean change of concentration",
        -1.0,
        1.0,
        0.0,
        "abs<=",
        "the evidence is spread differently",
    ),
    Limited("accuracy_drop", "max_accuracy_drop", "accuracy drop", -1.0, 1.0, 0.0, "<=", "accuracy fell"),
)

SHARE = "drifted_share"
SHARE_LIMIT = "max_drifted_share"
SHARE_TITLE = "share of images beyond a limit"
SHARE_MOVED = "too many images look elsewhere"
