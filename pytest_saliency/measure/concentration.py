"""How concentrated a map is."""

from __future__ import annotations

import torch
from torch import Tensor

from pytest_saliency.measure.grid import Spread, spread
from pytest_saliency.measure.regions import kth_largest, region_size

TOP = 0.10
"""Share of positions whose mass is counted, as ``no_semantic_drift`` declares it."""


def concentration(maps: Tensor, fraction: float = TOP, size: tuple[int, ...] | None = None) -> Tensor:
    """Return the share of positive mass in the strongest ``fraction`` of positions: (N,) float64 in [0, 1].

    ``maps`` (N, *S) raw; ``size``: the grid it is measured on, ``None`` the layer's own. Ties do not matter, as
    tied positions carry the same mass. NaN for a blank or non-finite map.
    Raises ``CriterionError`` for a share outside (0, 1] and ``MethodError`` for shapes that do not fit.
    """
    return concentration_of(spread(maps, size), fraction)


def concentration_of(grid: Spread, fraction: float = TOP) -> Tensor:
    """Return the same for maps that are on their grid already."""
    values = grid.values
    k = region_size(fraction, values.shape[1])
    kth = kth_largest(values, k)
    # The k largest values sum to k * v + sum of what rises above v, where v is the k-th: no sort, no ties.
    top = k * kth[:, 0].to(torch.float64) + (values - kth).clamp_(min=0.0).sum(1, dtype=torch.float64)
    total = values.sum(1, dtype=torch.float64)
    undefined = grid.blank | ~(total > 0)
    return (top / torch.where(undefined, 1.0, total)).clamp_(max=1.0).masked_fill_(undefined, torch.nan)
