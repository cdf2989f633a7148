"""Intersection over union of two top regions, the quantity of drift."""

from __future__ import annotations

from torch import Tensor

from pytest_saliency.measure.overlap import mass, shared_mass
from pytest_saliency.measure.regions import Region


def iou(a: Region, b: Region) -> Tensor:
    """Return sum min(w_a, w_b) / sum max(w_a, w_b) per image: (N,) float64 in [0, 1].

    NaN where either map is blank. 1 for identical regions, 0 for disjoint ones.
    Raises ``MethodError`` for different grids.
    """
    shared = shared_mass(a, b)
    return shared / (mass(a.weights) + mass(b.weights) - shared)
