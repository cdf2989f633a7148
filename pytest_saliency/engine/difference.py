"""What half precision changes: a few images explained in float32 too, and the difference as numbers for the record."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pytest_saliency.engine.swept import Swept

COMPARED = 8  # images, the first of the cases


def difference(half: Swept, full: Swept) -> dict[str, Any]:
    """Return how far a pass in half precision is from the same images in float32.

    ``score``: the largest difference of a score as a share of the largest score; ``predictions``: how many images
    have another top-1 class; ``correlation``: for each method the smallest Pearson correlation of an image's two maps
    for its top-1 class, over images whose class is the same; None where no map varies.
    """
    scale = full.scores.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    same = half.classes["top1"] == full.classes["top1"]
    correlations: dict[str, float | None] = {}
    for method, target in full.values:
        if target == "top1":
            found = _correlation(half.values[method, target][same], full.values[method, target][same])
            found = found[torch.isfinite(found)]
            correlations[method] = float(found.min()) if len(found) else None
    return {
        "images": len(full.scores),
        "score": float((half.scores - full.scores).abs().max() / scale),
        "predictions": int((~same).sum()),
        "correlation": correlations,
    }


def _correlation(one: Tensor, two: Tensor) -> Tensor:
    """Return Pearson's r of each pair of maps, NaN where one of them is constant."""
    a, b = (maps.flatten(1).double() for maps in (one, two))
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    made: Tensor = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    return made
