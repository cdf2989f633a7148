"""How much of a map's positive mass lies in each cell of a mosaic."""

from __future__ import annotations

from math import isqrt

import torch
from torch import Tensor

from pytest_saliency.measure.grid import spread

VERSION = 1
TOGETHER = 16


def cell_spans(length: int, side: int) -> list[slice]:
    """Return where each of ``side`` rows (or columns) of cells lies on an axis of ``length`` pixels."""
    return [slice(length * row // side, length * (row + 1) // side) for row in range(side)]


def cell_shares(maps: Tensor, size: tuple[int, ...], cells: int) -> Tensor:
    """Return the share of the positive mass of raw maps (N, *S) in each cell, row by row: (N, ``cells``) float64.

    Maps are rectified at layer resolution and resized linearly to ``size``; cells divide the last two axes. NaN where
    a map has no positive value or one that is not finite. Raises ``MethodError`` for shapes that do not fit.
    """
    side = isqrt(cells)
    rows, columns = cell_spans(size[-2], side), cell_spans(size[-1], side)
    parts = [torch.empty(0, cells, dtype=torch.float64)]
    for start in range(0, len(maps), TOGETHER):
        grid = spread(maps[start : start + TOGETHER], size)
        values = grid.values.to(torch.float64).reshape(-1, *size)
        mass = torch.stack([values[..., row, column].flatten(1).sum(1) for row in rows for column in columns], dim=1)
        parts.append((mass / mass.sum(1, keepdim=True)).masked_fill(grid.blank[:, None], torch.nan).cpu())
    return torch.cat(parts)
