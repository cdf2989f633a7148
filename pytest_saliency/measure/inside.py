"""How much of a map lies inside a region, and whether its maximum does (the pointing game).

The region is given where the map is measured: one weight a position, the share of that position which is inside.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pytest_saliency.errors import MethodError
from pytest_saliency.measure.grid import TOLERANCE, Spread, exact, spread


def mass_inside(maps: Tensor, region: Tensor) -> Tensor:
    """Return the share of positive mass inside ``region``: (N,) float64 in [0, 1].

    ``maps`` (N, *s) raw; ``region`` (N, *S) or (1, *S) in [0, 1]: maps are rectified at layer resolution and resized
    to *S. NaN for a blank or non-finite map. Raises ``MethodError`` for shapes that do not fit.
    """
    return mass_inside_of(spread(maps, tuple(region.shape[1:])), region)


def mass_inside_of(grid: Spread, region: Tensor) -> Tensor:
    """Return the same for maps that are on the region's grid already."""
    values, weights = exact(grid.values), _weights(grid, region)
    total = values.sum(1)
    undefined = grid.blank | ~(total > 0)
    share = (values * weights).sum(1) / torch.where(undefined, 1.0, total)
    return share.clamp(0.0, 1.0).masked_fill(undefined, torch.nan)


def maximum_inside(maps: Tensor, region: Tensor) -> Tensor:
    """Return 1.0 where the map's maximum lies inside ``region`` and 0.0 where not: (N,) float64.

    Positions within ``TOLERANCE`` of the maximum, relative to it, are the maximum too; more than half of them must be
    inside, so that a plateau across the border of the region is no hit. NaN as in :func:`mass_inside`.

    Source: the pointing game of Zhang et al. 2018 (arXiv 1608.00507), without its margin of 15 pixels.
    """
    return maximum_inside_of(spread(maps, tuple(region.shape[1:])), region)


def maximum_inside_of(grid: Spread, region: Tensor) -> Tensor:
    """Return the same for maps that are on the region's grid already."""
    values, weights = exact(grid.values), _weights(grid, region)
    peak = values.amax(1, keepdim=True)
    undefined = grid.blank | ~(peak[:, 0] > 0)
    tied = (values >= peak * (1.0 - TOLERANCE)).to(torch.float64)
    hit = (tied * weights).sum(1) > 0.5 * tied.sum(1)
    return hit.to(torch.float64).masked_fill(undefined, torch.nan)


def box_weights(size: tuple[int, ...], spans: tuple[tuple[float, float], ...]) -> Tensor:
    """Return (1, *size) float64: the share of each position that lies between ``spans``, one (from, to) an axis.

    Spans are shares of the axis, so that 0.1 of 15 pixels is one pixel and half of the next.
    Raises ``MethodError`` where spans and axes differ in number.
    """
    if len(spans) != len(size):
        raise MethodError(f"A box of {len(spans)} axes does not fit maps of {len(size)} spatial dimensions.")
    made = torch.ones((), dtype=torch.float64)
    for length, (start, stop) in zip(size, spans, strict=True):
        edge = torch.arange(length + 1, dtype=torch.float64) / length
        covered = (edge[1:].clamp(max=stop) - edge[:-1].clamp(min=start)).clamp(min=0.0) * length
        made = made[..., None] * covered
    return made[None].clamp(0.0, 1.0)


def border_weights(size: tuple[int, ...], share: float) -> Tensor:
    """Return (1, *size) float64: the share of each position in the outer ``share`` of every side."""
    return 1.0 - box_weights(size, ((share, 1.0 - share),) * len(size))


def _weights(grid: Spread, region: Tensor) -> Tensor:
    flat = exact(region).flatten(1).to(grid.values.device)
    if flat.shape[1] != grid.values.shape[1] or flat.shape[0] not in (1, len(grid.values)):
        raise MethodError(
            f"Regions of shape {tuple(region.shape)} do not fit {len(grid.values)} maps of"
            f" {math.prod(grid.values.shape[1:])} positions; give one region a map, or one for all."
        )
    return flat
