"""Removing a region from an image: what takes its place, and the blend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from types import MappingProxyType

import torch
from torch import Tensor

from pytest_saliency.errors import CriterionError, MethodError
from pytest_saliency.measure.grid import along, exact

BLUR_SHARE = 0.10
"""Standard deviation of the blur along an axis, as a share of the image's length along it (22 pixels of 224)."""

BLUR_REACH = 3.0
"""The Gaussian is cut off this many standard deviations from its centre."""


@dataclass(frozen=True)
class Fill:
    """What removed positions become. ``version`` rises whenever the same image would be filled differently."""

    name: str
    version: int
    description: str
    apply: Callable[[Tensor], Tensor]


def blur_matrix(length: int, device: torch.device) -> Tensor:
    """Return the matrix (length, length) float64 that blurs one axis; every row sums to 1.

    Gaussian with a standard deviation of ``BLUR_SHARE`` of the length, at least 1 position, cut at ``BLUR_REACH``
    standard deviations (and at the length of the image less 1), with the image mirrored about its outermost
    positions, which are not repeated (``reflect`` padding).
    """
    sigma = max(1.0, BLUR_SHARE * length)
    reach = min(ceil(BLUR_REACH * sigma), length - 1)
    offset = torch.arange(-reach, reach + 1, device=device)
    weight = torch.exp(-0.5 * (offset.to(torch.float64) / sigma).square())
    weight = weight / weight.sum()
    place = torch.arange(length, device=device)[:, None]
    source = (place + offset[None, :]).abs()
    source = torch.where(source > length - 1, 2 * (length - 1) - source, source)
    matrix = torch.zeros(length, length, dtype=torch.float64, device=device)
    return matrix.scatter_add_(1, source, weight.expand(length, -1))


def _blur(images: Tensor) -> Tensor:
    blurred = exact(images.flatten(0, 1))
    for axis, length in enumerate(images.shape[2:]):
        blurred = along(blurred, axis, blur_matrix(length, blurred.device))
    return blurred.reshape(images.shape).to(images.device, images.dtype)


def _mean(images: Tensor) -> Tensor:
    spatial = tuple(range(2, images.ndim))
    return exact(images).mean(spatial, keepdim=True).expand(images.shape).to(images.device, images.dtype).contiguous()


FILLS: Mapping[str, Fill] = MappingProxyType(
    {
        fill.name: fill
        for fill in (
            Fill(
                "blur",
                1,
                "the image under a Gaussian blur (standard deviation 10 % of each side, at least 1 pixel; mirrored)",
                _blur,
            ),
            Fill("mean", 1, "the mean of each channel of the image itself", _mean),
        )
    }
)
"""Fills by name."""


def filled(images: Tensor, fill: str) -> Tensor:
    """Return what ``images`` (N, C, *S) become where they are removed: same shape, dtype and device.

    For pixels in [0, 1] the result is in [0, 1]. Computed in float64 inside, so that devices and TF32 or bf16
    matmul settings agree on it. Raises ``CriterionError`` for an unknown fill, ``MethodError`` for other shapes.
    """
    if fill not in FILLS:
        raise CriterionError(f"There is no fill {fill!r}; use one of {', '.join(FILLS)}.")
    if images.ndim < 3 or not images.is_floating_point():
        raise MethodError(
            f"Images to fill must be floating-point with the shape (images, channels, *spatial), not {images.dtype}"
            f" {tuple(images.shape)}; pass pixels in [0, 1]."
        )
    return FILLS[fill].apply(images)


def remove(images: Tensor, weights: Tensor, filled_images: Tensor) -> Tensor:
    """Return images x (1 - w) + filled x w: (N, C, *S), with ``weights`` (N, *S) or (N, positions) in [0, 1].

    ``Region.weights`` fits as it is when the region was taken at the images' size.
    Raises ``MethodError`` where the weights do not cover the images' positions.
    """
    if filled_images.shape != images.shape or weights.numel() * images.shape[1] != images.numel():
        raise MethodError(
            f"Weights of shape {tuple(weights.shape)} and a fill of shape {tuple(filled_images.shape)} do not cover"
            f" images of shape {tuple(images.shape)}; take the regions at the images' size."
        )
    mask = weights.reshape(images.shape[0], 1, *images.shape[2:]).to(images.device, images.dtype)
    # lerp is exact at weight 0 and at weight 1: untouched positions keep their very pixels.
    return torch.lerp(images, filled_images, mask)
