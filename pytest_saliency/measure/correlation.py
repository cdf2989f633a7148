"""Pattern correlation of two maps."""

from __future__ import annotations

import torch
from torch import Tensor

from pytest_saliency.errors import MethodError
from pytest_saliency.measure.grid import TOLERANCE, as_double, finite_rows


def _standardised(maps: Tensor, rectify: bool) -> tuple[Tensor, Tensor]:
    """Return rows of mean 0 and norm 1 (N, P), and which are undefined (N,): not finite, or flat."""
    flat = as_double(maps).flatten(1)
    undefined = ~finite_rows(flat)
    flat = flat.masked_fill(undefined[:, None], 0.0)
    if rectify:
        flat = flat.clamp(min=0.0)
    peak = flat.abs().amax(1, keepdim=True)
    flat = flat / torch.where(peak > 0, peak, 1.0)
    undefined = undefined | (flat.amax(1) - flat.amin(1) <= TOLERANCE)
    centred = flat - flat.mean(1, keepdim=True)
    norm = centred.square().sum(1, keepdim=True).sqrt()
    return centred / torch.where(norm > 0, norm, 1.0), undefined


def pattern_correlation(a_maps: Tensor, b_maps: Tensor, rectify: bool = True) -> Tensor:
    """Return Pearson's correlation of the maps ``(N, *S)`` over positions at layer resolution: (N,) float64.

    ``rectify`` takes the positive parts first; ``False`` correlates the raw, signed maps. NaN where either map
    is constant (its spread within ``TOLERANCE`` of its maximum), blank after rectifying, or not finite.
    Raises ``MethodError`` where the two layers have different grids.
    """
    if a_maps.shape != b_maps.shape:
        raise MethodError(
            f"Maps of shape {tuple(a_maps.shape)} and {tuple(b_maps.shape)} cannot be correlated position by"
            " position; choose target layers with the same grid, or declare another limit than the pattern correlation."
        )
    a, a_undefined = _standardised(a_maps, rectify)
    b, b_undefined = _standardised(b_maps, rectify)
    return (a * b).sum(1).clamp_(-1.0, 1.0).masked_fill_(a_undefined | b_undefined, torch.nan)
