"""Agreement of two top regions, the quantity of class sensitivity."""

from __future__ import annotations

import torch
from torch import Tensor

from pytest_saliency.measure.overlap import mass, shared_mass
from pytest_saliency.measure.regions import Region


def agreement(a: Region, b: Region) -> Tensor:
    """Return sum min(w_a, w_b) / max(k'_a, k'_b) per image: (N,) float64 in [0, 1], NaN where either is blank.

    1 for identical regions, 0 for disjoint ones. Raises ``MethodError`` for different grids.
    Source: CASE paper (arXiv 2506.07327) eq. 7; counting weights instead of positions defines it for ties, and
    dividing by the larger support for maps with fewer positive positions than k.
    """
    # Float32 weights sum to k' within rounding; their own sums make identical regions exactly 1.
    return shared_mass(a, b) / torch.maximum(mass(a.weights), mass(b.weights))
