"""Maps on grids: what is positive in a map, and how it is enlarged to the size of the image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_saliency.errors import MethodError

TOLERANCE = 1e-6
"""Values closer than this share of a map's maximum count as equal, and values this close to zero as zero.

Values that are equal in exact arithmetic (symmetric maps, plateaus) come out of float32 kernels a few ulp
(about 1e-7) apart, and which one is larger depends on device and batch. Without a tolerance the ranking
inside such a tie, and with it a verdict, would depend on them too.
"""


@dataclass(frozen=True)
class Positive:
    """The positive part of maps at layer resolution.

    ``values`` (N, *S) float64, each map's maximum scaled to 1. ``blank`` (N,) bool: no positive value, or any
    value that is not finite; such a map is all zeros in ``values``.
    """

    values: Tensor
    blank: Tensor


@dataclass(frozen=True)
class Spread:
    """Rectified maps on the grid where they are measured: ``values`` (N, P) float32, ``blank`` (N,) bool."""

    values: Tensor
    blank: Tensor


def exact(tensor: Tensor) -> Tensor:
    """Return ``tensor`` in float64, detached, on its device; on the CPU where the device has no float64 (MPS)."""
    tensor = tensor.detach()
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).to(torch.float64)


def as_double(maps: Tensor) -> Tensor:
    """Return raw maps ``(N, *S)`` in float64. Raises ``MethodError`` where there is no spatial position."""
    if maps.ndim < 2 or math.prod(maps.shape[1:]) == 0:
        raise MethodError(
            f"Maps must have the shape (images, *spatial) with at least one position, not"
            f" {tuple(maps.shape)}; pass one map per image at layer resolution."
        )
    return exact(maps)


def finite_rows(flat: Tensor) -> Tensor:
    """Return (N,) bool: rows of ``flat`` (N, P) whose values are all finite."""
    # x - x is 0 for finite x and NaN otherwise; one sum is cheaper than isfinite().all() on small rows.
    return (flat - flat).sum(1) == 0


def positive(maps: Tensor) -> Positive:
    """Rectify raw maps ``(N, *S)`` and scale each by its maximum; no measure depends on a map's scale."""
    double = as_double(maps)
    flat = double.flatten(1)
    finite = finite_rows(flat)
    peak = flat.amax(1)
    blank = ~finite | ~(peak > 0)
    scale = torch.where(blank, 1.0, peak)[:, None]
    values = (flat / scale).clamp_(min=0.0).masked_fill_(blank[:, None], 0.0)
    return Positive(values.reshape(double.shape), blank)


def check_size(shape: tuple[int, ...], size: tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the size of the grid to measure on (``None``: the layer's own). Raises ``MethodError``."""
    if size is None:
        return shape
    if len(size) != len(shape) or min(size) < 1:
        raise MethodError(
            f"Maps with the grid {shape} cannot be resized to {tuple(size)}: both need {len(shape)} spatial"
            " dimensions of at least one position; pass the input size of the subject that made the maps."
        )
    return tuple(int(length) for length in size)


def interpolation(source: int, target: int, device: torch.device) -> Tensor:
    """Return the matrix (target, source) float64 that resizes one axis linearly, ``align_corners=False``.

    Target position t reads the source at (t + 1/2) * source / target - 1/2, clamped to the source's centres.
    """
    if source == target:
        return torch.eye(source, dtype=torch.float64, device=device)
    centre = (torch.arange(target, dtype=torch.float64, device=device) + 0.5) * (source / target) - 0.5
    centre = centre.clamp_(0.0, source - 1.0)
    grid = torch.arange(source, dtype=torch.float64, device=device)
    return (1.0 - (centre[:, None] - grid[None, :]).abs_()).clamp_(min=0.0)


def along(values: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """Multiply ``matrix`` (out, in) into spatial axis ``axis`` of ``values`` (N, *S); 0 is the first of S."""
    if axis == values.ndim - 2:
        return values @ matrix.T
    return (values.transpose(axis + 1, -1) @ matrix.T).transpose(axis + 1, -1)


def resize(values: Tensor, size: tuple[int, ...] | None) -> Tensor:
    """Resize ``values`` (N, *S) linearly along every spatial axis; return (N, positions) float32.

    Equal to ``torch.nn.functional.interpolate(mode="bilinear" | "trilinear", align_corners=False)``, in any
    number of dimensions. Runs in float64, so that TF32 or bf16 matmul settings of the user cannot coarsen it.
    """
    shape = tuple(values.shape[1:])
    for axis, length in enumerate(check_size(shape, size)):
        if length != shape[axis]:
            values = along(values, axis, interpolation(shape[axis], length, values.device))
    return values.to(torch.float32).flatten(1)


def spread(maps: Tensor, size: tuple[int, ...] | None) -> Spread:
    """Rectify raw maps ``(N, *S)`` at layer resolution, then resize them to ``size`` (``None``: as they are)."""
    rectified = positive(maps)
    return Spread(resize(rectified.values, size), rectified.blank)
