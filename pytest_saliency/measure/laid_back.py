"""How far the top regions of a map and of a map of the moved image agree, where both show the same places."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from pytest_saliency.measure.grid import Spread, spread
from pytest_saliency.measure.iou import iou
from pytest_saliency.measure.regions import Region, region_of


class Mover(Protocol):
    """Lays maps (n, *S) back on the original image; the second is where they are known, bool (*S)."""

    def lay_back(self, values: Tensor) -> tuple[Tensor, Tensor]: ...


def iou_laid_back(own: Tensor, moved: Tensor, mover: Mover, *, fraction: float, size: tuple[int, ...]) -> float:
    """Return the IoU of the top regions of two raw maps (*s), the second of the moved image.

    Both are rectified, resized to ``size``, laid over each other, and cut to the places that both show; the regions
    are the strongest ``fraction`` of these. 0 where the moved image's map has nothing left there; NaN where the own
    map has not, or no place is left.
    """
    first, second = spread(own[None], size), spread(moved[None], size)
    back, known = mover.lay_back(second.values.reshape(1, *size))
    places = known.flatten()
    if not bool(places.any()):
        return math.nan
    one, two = (
        _region(whole.values[:, places], whole.blank, fraction)
        for whole in (first, Spread(back.reshape(1, -1), second.blank))
    )
    if bool(one.blank):
        return math.nan
    return 0.0 if bool(two.blank) else float(iou(one, two))


def _region(values: Tensor, blank: Tensor, fraction: float) -> Region:
    """Return the region of a cut map, scaled to the maximum that is left: ties count relative to it."""
    peak = values.amax(1, keepdim=True)
    scaled = torch.where(peak > 0, values / torch.where(peak > 0, peak, 1.0), 0.0)
    return region_of(Spread(scaled.to(torch.float32), blank), fraction)
