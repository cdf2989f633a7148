"""Whether two computations of the same images are the same, up to what batch size, threads and memory layout do."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_saliency.engine.runner import REPEATS_WITHIN, ROUNDINGS
from pytest_saliency.engine.swept import Swept

# Share of the maps. Where rounding moves a unit across its kink, a gradient jumps: at the first stage of a ResNet-18
# one map in 24 by 1e-2 of its largest value between batches of 1 and 24, while the others stay within 1e-6.
MOST = 0.75


@dataclass(frozen=True)
class Agreement:
    """``within``: how far apart two equal numbers may be, as a share of what is large among them."""

    within: float

    @classmethod
    def of(cls, computed_in: torch.dtype) -> Agreement:
        """Return what is far above rounding in this type and far below another model."""
        return cls(max(REPEATS_WITHIN, ROUNDINGS * torch.finfo(computed_in).eps))

    def of_passes(self, one: Swept, two: Swept) -> bool:
        """Tell whether scores agree, and the maps of every method and target that both have."""
        if not self.of_scores(one.scores, two.scores):
            return False
        for method, target in one.values.keys() & two.values.keys():
            # Classes come from the scores, so they can differ only in a tie; there the maps are for different classes.
            alike = one.classes[target] == two.classes[target]
            if not self.of_maps(one.values[method, target][alike], two.values[method, target][alike]):
                return False
        return True

    def of_scores(self, one: Tensor, two: Tensor) -> bool:
        """Tell whether scores (n, C), C >= 2, agree for every image and class.

        What is large is the two highest scores of an image, not the lowest: models write -1e9 for a class that is
        ruled out, beside which everything would agree.
        """
        if one.shape != two.shape or not torch.equal(torch.isfinite(one), torch.isfinite(two)):
            return False
        finite = torch.isfinite(one)
        if not len(one):
            return True
        top = torch.nan_to_num(one, nan=0.0, posinf=0.0, neginf=0.0).topk(2, dim=1).values.abs().amax(1)
        large = torch.maximum(torch.maximum(top, top.median()).unsqueeze(1), one.abs())
        return bool(((one - two).abs() <= self.within * large)[finite].all())

    def of_maps(self, one: Tensor, two: Tensor) -> bool:
        """Tell whether most maps (n, *grid) agree, each beside its own largest value or that of the middle map."""
        if one.shape != two.shape:
            return False
        if not len(one):
            return True
        a, b = one.flatten(1).double(), two.flatten(1).double()
        finite = torch.isfinite(a)
        alike = (finite == torch.isfinite(b)).all(1)
        a, b = (torch.where(finite & torch.isfinite(b), values, 0.0) for values in (a, b))
        peaks = a.abs().amax(1)
        near = ((a - b).abs() <= self.within * torch.maximum(peaks, peaks.median()).unsqueeze(1)).all(1)
        return float((alike & near).double().mean()) >= MOST
