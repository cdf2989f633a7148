"""Deletion and insertion curves, their areas, and the symmetric relevance gain.

Deletion removes the strongest positions first, insertion starts from nothing but the fill and gives the strongest
back first (Petsiuk, Das and Saenko, "RISE", arXiv 1806.07421, section 4.2). Each is a score against the share of
positions removed or given back, from 0 to 1. The symmetric relevance gain (Blücher, Vielhaben and Strodthoff,
"Decoupling pixel flipping and occlusion strategy for consistent XAI benchmarks", TMLR 2024, arXiv 2401.06654) is the
area under the curve of removing the weakest first minus that of removing the strongest first: it is near 0 for an
order that knows nothing, whatever the fill does to the model.

Removing the weakest share r leaves the strongest 1 - r, which is what insertion shows at 1 - r. The curve of the
weakest first is therefore the insertion curve read backwards, and costs no pass of its own.
"""

from __future__ import annotations

from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_saliency.errors import CriterionError
from pytest_saliency.measure.grid import TOLERANCE, Spread, spread

Floats = NDArray[np.float64]


def shares_of(steps: int) -> Floats:
    """Return the shares 0, 1/steps .. 1 of a curve. Raises ``CriterionError`` unless ``steps`` is 2 or more."""
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 2:
        raise CriterionError(f"A curve needs at least 2 steps, a whole number, not {steps!r}; 10 is usual.")
    return np.arange(steps + 1) / steps


class Ranking:
    """The positions of maps in the order of their strength, sorted once, cut off anywhere.

    Maps are rectified at layer resolution and resized as for a top region. Positions tied with the one at the edge
    share what is left between them equally, as they do there, so that no curve depends on the order of equal
    values; all positions without positive evidence are tied with each other, after the others.
    """

    def __init__(self, maps: Tensor, size: tuple[int, ...] | None = None) -> None:
        """``maps`` (N, *S) raw; ``size`` to measure at, ``None`` for the maps' own. Raises ``MethodError``."""
        self._grid: Spread = spread(maps, size)
        self._falling = torch.sort(self._grid.values, dim=1, descending=True).values

    @property
    def blank(self) -> Tensor:
        """(N,) bool: no positive value, or one that is not finite."""
        return self._grid.blank

    def strongest(self, share: float) -> Tensor:
        """Return weights (N, P) float32 in [0, 1] of the strongest ``share`` of positions; each row sums to share x P.

        Not rounded to whole positions: the position at the edge is taken in part.
        Raises ``CriterionError`` for a share outside [0, 1].
        """
        if not 0.0 <= share <= 1.0:
            raise CriterionError(f"A share of positions must be from 0 to 1, not {share!r}.")
        values = self._grid.values
        if share in (0.0, 1.0):
            return torch.full_like(values, share)
        wanted = share * values.shape[1]
        # Rounding must not ask for one position more than 0.3 of 10.
        edge = self._falling[:, ceil(wanted - 1e-9) - 1 : ceil(wanted - 1e-9)]
        some = edge > TOLERANCE
        above = values > torch.where(some, edge + TOLERANCE, TOLERANCE)
        reached = ~some | (values > (edge - TOLERANCE).clamp(min=TOLERANCE))
        sure = above.sum(1, keepdim=True, dtype=torch.float64)
        tied = reached.sum(1, keepdim=True, dtype=torch.float64) - sure
        part = ((wanted - sure) / tied.clamp(min=1.0)).clamp(0.0, 1.0).to(torch.float32)
        return torch.where(above, 1.0, reached.to(torch.float32) * part)


def area(shares: Floats, curves: Floats) -> Floats:
    """Return the area (N,) under ``curves`` (N, T) over ``shares`` (T,) from 0 to 1, by trapezia; NaN stays NaN.

    As the shares span 1, it is the mean height of the curve, in the unit of the score.
    """
    if len(shares) != curves.shape[-1] or shares[0] != 0.0 or shares[-1] != 1.0 or bool((np.diff(shares) <= 0).any()):
        raise CriterionError(
            f"A curve of {curves.shape[-1]} points cannot be laid over {len(shares)} shares; give a score for each of"
            " the shares, which rise from 0 to 1."
        )
    found: Floats = (curves[..., 1:] + curves[..., :-1]) @ np.diff(shares) / 2
    return found


def weakest_first(shares: Floats, insertion: Floats) -> Floats:
    """Return the curves (N, T) of removing the weakest positions first, from the ``insertion`` curves (N, T).

    Raises ``CriterionError`` unless the shares are the same read from either end.
    """
    if not np.allclose(shares, 1.0 - shares[::-1], atol=1e-9):
        raise CriterionError(
            "The curve of the weakest first is the insertion curve backwards only where with each share r there is"
            " 1 - r; space the shares evenly."
        )
    return insertion[..., ::-1]


def relevance_gain(shares: Floats, deletion: Floats, insertion: Floats) -> Floats:
    """Return the symmetric relevance gain (N,): area of the weakest first minus that of the strongest first.

    In the unit of the score. Above 0 where what the map calls strong matters more than what it calls weak.
    """
    return area(shares, weakest_first(shares, insertion)) - area(shares, deletion)
