"""What two top regions share: the sums that agreement and IoU are made of."""

from __future__ import annotations

import torch
from torch import Tensor

from pytest_saliency.errors import MethodError
from pytest_saliency.measure.regions import Region


def mass(weights: Tensor) -> Tensor:
    """Return the sum of each row of ``weights`` (N, P) as (N,) float64."""
    return weights.sum(1, dtype=torch.float64)


def shared_mass(a: Region, b: Region) -> Tensor:
    """Return sum min(w_a, w_b) per image as (N,) float64; NaN where either map is blank.

    Raises ``MethodError`` where the regions are not on the same grid or not of the same images.
    """
    if a.weights.shape != b.weights.shape:
        raise MethodError(
            f"Regions of {a.weights.shape[0]} images on {a.positions} positions cannot be compared with regions"
            f" of {b.weights.shape[0]} images on {b.positions} positions; take both from the same images at the"
            " same input size."
        )
    shared = mass(torch.minimum(a.weights, b.weights))
    return shared.masked_fill(a.blank | b.blank, torch.nan)
