"""The fill ``blur``: the image without its detail."""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor

from pytest_saliency.measure.fills.fill import Fill
from pytest_saliency.measure.grid import along, exact

BLUR_SHARE = 0.10
"""Standard deviation of the blur along an axis, as a share of the image's length along it (22 pixels of 224)."""

BLUR_REACH = 3.0
"""The Gaussian is cut off this many standard deviations from its centre."""


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


BLUR = Fill(
    "blur",
    1,
    "the image under a Gaussian blur (standard deviation 10 % of each side, at least 1 pixel; mirrored)",
    _blur,
)
