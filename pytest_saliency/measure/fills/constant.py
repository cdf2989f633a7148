"""The fills ``mean`` and ``zero``: one value for every position of a channel."""

from __future__ import annotations

import torch
from torch import Tensor

from pytest_saliency.measure.fills.fill import Fill
from pytest_saliency.measure.grid import exact


def channel_means(images: Tensor) -> Tensor:
    """Return the mean of each channel of each image (N, C, *S), in every position."""
    spatial = tuple(range(2, images.ndim))
    return exact(images).mean(spatial, keepdim=True).expand(images.shape).to(images.device, images.dtype).contiguous()


MEAN = Fill("mean", 1, "the mean of each channel of the image itself", channel_means)
ZERO = Fill("zero", 1, "black: pixel value 0 before normalisation", torch.zeros_like)
