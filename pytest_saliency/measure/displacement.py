"""How far the centre of a map's mass has moved."""

from __future__ import annotations

from math import hypot

import torch
from torch import Tensor

from pytest_saliency.errors import MethodError
from pytest_saliency.measure.grid import along, check_size, interpolation, positive


def centre_of_mass(maps: Tensor, size: tuple[int, ...] | None = None) -> Tensor:
    """Return the centre of mass of the rectified maps ``(N, *S)`` on the grid ``size``: (N, D) float64.

    Coordinates count positions from 0 along each of the D axes. NaN for a blank or non-finite map. The resize
    is linear, so mass and first moments are taken at layer resolution without ever making the large map.
    Raises ``MethodError`` for shapes that do not fit.
    """
    rectified = positive(maps)
    shape = tuple(maps.shape[1:])
    target = check_size(shape, size)
    # Two rows an axis: the mass that one layer position spreads on the large grid, and its first moment.
    probes = []
    for length, wanted in zip(shape, target, strict=True):
        matrix = interpolation(length, wanted, rectified.values.device)
        place = torch.arange(wanted, dtype=torch.float64, device=matrix.device)
        probes.append(torch.stack((matrix.sum(0), place @ matrix)))
    moments = rectified.values
    for axis, probe in enumerate(probes):
        moments = along(moments, axis, probe)
    flat = moments.flatten(1)
    total = flat[:, 0]
    # Moment along axis d alone: index 1 on axis d and 0 elsewhere, in a grid of 2 ** D entries.
    first = [2 ** (len(shape) - 1 - axis) for axis in range(len(shape))]
    centres = flat[:, first] / torch.where(total > 0, total, 1.0)[:, None]
    return centres.masked_fill((rectified.blank | ~(total > 0))[:, None], torch.nan)


def displacement(a_maps: Tensor, b_maps: Tensor, size: tuple[int, ...] | None = None) -> Tensor:
    """Return the distance of the two centres of mass / the grid's diagonal per image: (N,) float64 in [0, 1).

    ``size`` is the input size in positions (height, width) or (depth, height, width); ``None`` is the layer's
    own grid. The diagonal is sqrt(sum of squared side lengths). NaN where either map is blank or non-finite.
    Raises ``MethodError`` for shapes that do not fit.
    """
    shapes: tuple[tuple[int, ...], tuple[int, ...]] = tuple(a_maps.shape), tuple(b_maps.shape)
    if shapes[0][0] != shapes[1][0] or (size is None and shapes[0] != shapes[1]):
        raise MethodError(
            f"Maps of shape {shapes[0]} and {shapes[1]} have no common grid to measure a displacement on; pass"
            " maps of the same images, and the input size where the layers differ."
        )
    target = check_size(shapes[0][1:], size)
    diagonal = hypot(*target)
    moved = centre_of_mass(a_maps, target) - centre_of_mass(b_maps, target)
    return moved.square().sum(1).sqrt() / diagonal
