"""The top region of a map: the positions that carry its strongest positive evidence."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_saliency.measure.grid import TOLERANCE, Spread, spread
from pytest_saliency.measure.region_size import region_size as region_size


@dataclass(frozen=True)
class Region:
    """Top regions of N maps.

    ``weights`` (N, P) float32 in [0, 1], row-major over the grid; each row sums to ``support``.
    ``support`` (N,) int64: k', the positions in the region. ``positions``: P. ``blank`` (N,) bool: the map has
    no positive value or a value that is not finite; its weights and its support are zero.
    """

    weights: Tensor
    support: Tensor
    positions: int
    blank: Tensor


def kth_largest(values: Tensor, k: int) -> Tensor:
    """Return the k-th largest value of each row of ``values`` (N, P) as (N, 1)."""
    if k >= values.shape[1]:
        return values.amin(1, keepdim=True)
    # Unlike numpy.partition, whose time grows 15-fold on rows that are mostly zeros, topk is fast on any map.
    return torch.topk(values, k, dim=1, sorted=False).values.amin(1, keepdim=True)


def _above(values: Tensor, threshold: Tensor) -> Tensor:
    """Return 1.0 where ``values`` > ``threshold`` and 0.0 elsewhere.

    Same as ``(values > threshold).float()`` and four times as fast on a CPU. Exact, because thresholds are at
    least TOLERANCE, where two different float32 numbers differ by at least 1e-13.
    """
    return (values - threshold).mul_(1e30).clamp_(0.0, 1.0)


def top_region(maps: Tensor, fraction: float, size: tuple[int, ...] | None = None) -> Region:
    """Return the regions formed by the strongest ``fraction`` of positions of raw maps ``(N, *S)``.

    Maps are rectified at layer resolution, then resized linearly (``align_corners=False``) to ``size``;
    ``None`` stays on the layer's grid. Only positive positions enter: k' = min(k, positive positions). Weight 1
    above the k'-th value; what is left of k' is shared equally among the positions tied with it; 0 elsewhere.
    Values that differ from the k'-th by at most ``TOLERANCE`` of the map's maximum are tied with it, and values
    that close to zero are zero.

    Raises ``CriterionError`` for a share outside (0, 1] and ``MethodError`` for shapes that do not fit.
    """
    return region_of(spread(maps, size), fraction)


def region_of(grid: Spread, fraction: float) -> Region:
    """Return the same for maps that are on their grid already."""
    values = grid.values
    positions = values.shape[1]
    k = region_size(fraction, positions)
    kth = kth_largest(values, k)
    full = kth > TOLERANCE
    # Fewer than k positive positions: all of them are the region, and nothing is tied at its edge.
    upper = torch.where(full, kth + TOLERANCE, TOLERANCE)
    lower = torch.where(full, (kth - TOLERANCE).clamp_(min=TOLERANCE), TOLERANCE)
    inside, reached = _above(values, upper), _above(values, lower)
    sure = inside.sum(1, keepdim=True, dtype=torch.float64)
    tied = reached.sum(1, keepdim=True, dtype=torch.float64) - sure
    support = torch.where(full, float(k), sure)
    share = ((support - sure) / tied.clamp(min=1.0)).to(torch.float32)
    weights = inside.lerp_(reached, share)
    count = support[:, 0].to(torch.int64)
    return Region(weights, count, positions, grid.blank | (count == 0))
