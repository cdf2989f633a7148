"""A measure with a limit: its range, the side from which it is bound; and the question that it belongs to.

A check kind whose criterion is a list of limits on means and shares declares a :class:`Question` and leaves the rest
to ``limits.decide``.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Literal

import numpy as np
import numpy.typing as npt

from pytest_saliency.decide import means, shares
from pytest_saliency.decide.ranks import SAME
from pytest_saliency.decide.tolerance import TOLERANCES, Tolerance, Way
from pytest_saliency.decide.values import FloatArray, Units

AS_THEY_ARE = Tolerance(0.0, 0.0)


@dataclass(frozen=True)
class Limited:
    """One measure with a limit.

    Attributes
    ----------
    name, limit, title
        Of the measure, of the parameter that limits it, and of what is shown: "mean IoU drop".
    low, high
        Range of one image's number.
    perfect
        The number of an image on which nothing is wrong. It stands for an undefined image where FAIL is asked.
    side
        What the limit asks of the mean: ``"<="``, ``">="`` or ``"abs<="``.
    moved
        Lead of a headline about its failure: "the model looks elsewhere".
    counted
        An image's number is 0 or 1 and the mean a share: bound exactly (Clopper-Pearson). Within clusters such numbers
        are averaged and bound as any mean.
    tolerance
        By how much the numbers of two runs may differ; by default what ``tolerance.TOLERANCES`` says of the measure,
        and nothing where it says nothing.
    """

    name: str
    limit: str
    title: str
    low: float
    high: float
    perfect: float
    side: Literal["<=", ">=", "abs<="]
    moved: str
    counted: bool = False
    tolerance: Tolerance | None = None

    def __post_init__(self) -> None:
        if self.counted and (self.low, self.high, self.side == "abs<=") != (0.0, 1.0, False):
            raise ValueError(f"{self.name} is counted, so its range is 0 to 1 and its side <= or >=")

    def bounds(self, units: Units) -> ModuleType:
        """Return what bounds the mean: ``shares`` for counts of images, else ``means``."""
        return shares if self.counted and not units.clustered else means

    def tolerated(self) -> Tolerance:
        """Return by how much the numbers of two runs may differ."""
        return self.tolerance or TOLERANCES.get(self.name, AS_THEY_ARE)

    def beyond(self, values: FloatArray, limit: float) -> npt.NDArray[np.bool_]:
        """Return which images lie beyond the limit on their own; an undefined one does not."""
        shown = np.where(np.isnan(values), self.perfect, values)
        if self.side == ">=":
            return shown < limit - SAME
        sized = np.abs(shown) if self.side == "abs<=" else shown
        return sized > limit + SAME

    def p_pass(self, down: FloatArray, up: FloatArray, limit: float, alpha: float, by: ModuleType = means) -> float:
        """Return the p-value of "the mean is not within the limit".

        ``down`` and ``up`` are the numbers with undefined images at the low and at the high end of the range.
        """
        if self.side == "<=":
            return float(by.p_below(up, self.low, self.high, limit, alpha))
        if self.side == ">=":
            return float(by.p_above(down, self.low, self.high, limit, alpha))
        return max(
            float(by.p_below(up, self.low, self.high, limit, alpha)),
            float(by.p_above(down, self.low, self.high, -limit, alpha)),
        )

    def p_fail(self, best: FloatArray, limit: float, alpha: float, by: ModuleType = means) -> float:
        """Return the p-value of "the mean is within the limit"; ``best`` has undefined images at their best value.

        An absolute limit can be left on two sides, which are two questions: the smaller p-value is doubled.
        """
        if self.side == "<=":
            return float(by.p_above(best, self.low, self.high, limit, alpha))
        if self.side == ">=":
            return float(by.p_below(best, self.low, self.high, limit, alpha))
        above = float(by.p_above(best, self.low, self.high, limit, alpha))
        below = float(by.p_below(best, self.low, self.high, -limit, alpha))
        return min(1.0, 2.0 * min(above, below))

    def smallest_n(self, limit: float, alpha: float, by: ModuleType = means) -> int | None:
        """Return the smallest number of perfect images that shows the mean to be within the limit, if any does."""
        least = by.smallest_n_above if self.side == ">=" else by.smallest_n_below
        found: int | None = least(self.perfect, self.low, self.high, limit, alpha)
        return found

    def widened(self, limit: float, by: float) -> float:
        """Return the limit that is easier to keep by ``by``, harder if that is negative."""
        return limit - by if self.side == ">=" else limit + by

    def shifted(self, values: FloatArray, worse: Way, limit: float, tolerance: Tolerance) -> FloatArray:
        """Return ``values`` moved by the tolerance so that every image is worse (1) or better (-1)."""
        if self.side == ">=":
            return tolerance.moved(values, -worse, limit, self.low, self.high)
        sign = np.where(values < 0.0, -1.0, 1.0) if self.side == "abs<=" else np.ones(values.size)
        return tolerance.moved(values, sign * worse, sign * limit, self.low, self.high)

    def margin(self, estimate: float, limit: float) -> float:
        """Return how far the estimate lies inside the limit; negative beyond it."""
        if self.side == ">=":
            return estimate - limit
        return limit - (abs(estimate) if self.side == "abs<=" else estimate)


@dataclass(frozen=True)
class Beyond:
    """The share of images that may each lie beyond a limit, because a mean hides subgroups."""

    name: str
    limit: str
    title: str
    moved: str


@dataclass(frozen=True)
class Question:
    """A check kind's measures and words.

    Attributes
    ----------
    kind
        Name of the check kind.
    entries
        Every measure that may be limited, in the order of reports; those without a limit are read-outs.
    held
        Lead of a PASS: "the evidence stayed where it was".
    undefined
        Ends "12 % of the images are undefined, 5 % are allowed; ": what that means and what to do.
    few
        Ends "only 8 of 40 images were kept, 50 % are needed; ".
    perfect, nothing
        What a sample without fault is called in "could not PASS with its 4 images even if ..." and in "... because
        unchanged maps lie on that limit".
    beyond
        Where a share of single images may be limited too.
    """

    kind: str
    entries: tuple[Limited, ...]
    held: str
    undefined: str
    few: str = "look at which images 'keep' leaves"
    perfect: str = "every image were perfect"
    nothing: str = "perfect images"
    beyond: Beyond | None = None

    def entry(self, name: str) -> Limited:
        """Return the entry of a measure."""
        return next(entry for entry in self.entries if entry.name == name)
