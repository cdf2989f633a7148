"""Does the prediction follow a region that is pasted into another image? Exact and paired.

Every image lends its region once, to one image of another class, and a control region of the same size to the same
image. Of the pairs in which only one of the two pastes was followed, half should be the region's if it were no better
than the control: the exact sign test of McNemar (Psychometrika 12, 1947), one-sided. Shares are bound by
Clopper-Pearson. Where the model before was asked, its answers to the same pastes are compared in the same way, and both
tests must be passed: what it followed already is no new habit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_saliency.decide import rates
from pytest_saliency.decide.values import level
from pytest_saliency.decide.words import percent
from pytest_saliency.errors import CriterionError

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pasted:
    """How often the prediction followed. ``n`` pairs; counts of those that followed each paste.

    ``only_region`` and ``only_control``: pairs in which one paste was followed and the other not. ``before``: how many
    the model before follows the pasted region in, None where it was not asked. ``p``: the larger one of both tests.
    """

    n: int
    region: int
    control: int
    only_region: int
    only_control: int
    before: int | None
    p: float
    alpha: float

    @property
    def confirmed(self) -> bool:
        """Whether it is shown that the region is followed more often than the control, and than by the model before."""
        return self.p < self.alpha

    def sentence(self) -> str:
        """Return the finding in words."""
        if not self.n:
            return "shortcut not confirmed: no image has a newly used region that could be pasted into another class"
        word = "confirmed" if self.confirmed else "not confirmed, which is no all-clear"
        said = (
            f"shortcut {word}: {percent(self.region / self.n)} follow the pasted region, control"
            f" {percent(self.control / self.n)} (n = {self.n}, exact paired p = {self.p:.2g})"
        )
        if self.before is not None:
            said += f"; the model before follows it in {percent(self.before / self.n)}"
        return said

    def readout(self) -> dict[str, object]:
        """Return all numbers, with one-sided Clopper-Pearson bounds."""
        made: dict[str, object] = {
            "confirmed": self.confirmed,
            "n": self.n,
            "only_the_region_followed": self.only_region,
            "only_the_control_followed": self.only_control,
            "p": self.p,
        }
        for name, count in (("region", self.region), ("control", self.control), ("model_before", self.before)):
            if count is not None and self.n:
                made[name] = {
                    "share": count / self.n,
                    "bounds": {
                        "low": rates.lower_bound(count, self.n, self.alpha),
                        "high": rates.upper_bound(count, self.n, self.alpha),
                        "level": 1.0 - self.alpha,
                    },
                }
        return made


def _p_of_pairs(more: int, less: int) -> float:
    """Return the one-sided p-value of ``more`` pairs of one kind and ``less`` of the other being equally likely."""
    return rates.p_share_above(more, more + less, 0.5) if more + less else 1.0


def judge(region: npt.ArrayLike, control: npt.ArrayLike, before: npt.ArrayLike | None, alpha: float) -> Pasted:
    """Judge 0 or 1 for each image (followed or not), NaN where nothing was pasted.

    Raises
    ------
    CriterionError
        The columns differ in length or hold other numbers.
    """
    level(alpha)
    pasted, other = np.asarray(region, dtype=np.float64), np.asarray(control, dtype=np.float64)
    third = None if before is None else np.asarray(before, dtype=np.float64)
    for name, column in (("region", pasted), ("control", other), ("model before", third)):
        if column is None:
            continue
        if column.shape != pasted.shape or not bool(np.isin(column[~np.isnan(column)], (0.0, 1.0)).all()):
            raise CriterionError(
                f"what followed the {name} must be 0, 1 or undefined for each of {pasted.size} images."
            )
    seen = ~np.isnan(pasted) & ~np.isnan(other)
    if third is not None:
        seen &= ~np.isnan(third)
    a, b = pasted[seen] == 1.0, other[seen] == 1.0
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    p = _p_of_pairs(only_a, only_b)
    if third is not None:
        c = third[seen] == 1.0
        p = max(p, _p_of_pairs(int((a & ~c).sum()), int((c & ~a).sum())))
    return Pasted(
        int(seen.sum()),
        int(a.sum()),
        int(b.sum()),
        only_a,
        only_b,
        None if third is None else int((third[seen] == 1.0).sum()),
        p,
        alpha,
    )
