"""What a perturbation does to pixels, and how maps are laid back."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import ndtri
from torch import Tensor

from pytest_saliency.decide.randomness import Stream
from pytest_saliency.errors import CriterionError

if TYPE_CHECKING:
    from pytest_saliency.engine.perturb import Perturbation

REACH = 3.0
"""A blur is cut off this many standard deviations from its centre."""


def applied(change: Perturbation, pixels: Any) -> Any:
    """Return the changed image or batch, see ``Perturbation.apply``."""
    if not isinstance(pixels, Tensor):
        array = np.asarray(pixels)
        made = applied(change, torch.from_numpy(np.ascontiguousarray(array)))
        return made.numpy()
    if pixels.dim() < 3 or not pixels.is_floating_point() or not pixels.numel():
        raise CriterionError(
            f"a perturbation needs an image (C, H, W) or a batch (N, C, *S) of floats, not {pixels.dtype} of shape"
            f" {tuple(pixels.shape)}."
        )
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0.0 and high <= 1.0):
        raise CriterionError(
            f"a perturbation needs pixels in [0, 1], before any normalisation; these go from {low:g} to {high:g}."
        )
    if change.identity:
        return pixels.clone()
    batch = pixels if pixels.dim() > 3 else pixels.unsqueeze(0)
    made = _changed(change, batch).clamp(0.0, 1.0)
    return made if pixels.dim() > 3 else made.squeeze(0)


def _changed(change: Perturbation, batch: Tensor) -> Tensor:
    value = change.values[0] if change.values else 0.0
    if change.family == "brightness":
        return batch + value
    if change.family == "contrast":
        mean = batch.flatten(1).mean(1).reshape(-1, *(1,) * (batch.dim() - 1))
        return mean + (1.0 + value) * (batch - mean)
    if change.family == "noise":
        return batch + value * _noise(change.seed, tuple(batch.shape[1:])).to(batch)
    if change.family == "blur":
        return _blurred(batch, value)
    if change.family == "jpeg":
        return _compressed(batch, 100 - int(value))
    if change.family == "shift":
        return _moved(batch, int(change.values[0]), int(change.values[1]))
    if change.family == "rotation":
        return _turned(batch, value)[0]
    return batch.flip(-1)


def laid_back(change: Perturbation, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return maps (n, *S) on the original image, and where they are known; see ``Perturbation.lay_back``."""
    height, width = values.shape[-2:]
    everywhere = torch.ones(values.shape[1:], dtype=torch.bool, device=values.device)
    if change.identity or not change.geometric:
        return values, everywhere
    if change.family == "flip":
        return values.flip(-1), everywhere
    if change.family == "shift":
        x, y = (int(value) for value in change.values)
        rows = torch.arange(height, device=values.device) + y
        columns = torch.arange(width, device=values.device) + x
        known = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))[None, :]
        return _moved(values, -x, -y), everywhere & known
    made, inside = _turned(values.unsqueeze(1), -change.values[0])
    return made.squeeze(1), everywhere & inside


def _noise(seed: int, shape: tuple[int, ...]) -> Tensor:
    uniform = Stream(seed, "perturbation", "noise").uniform(math.prod(shape))
    # A uniform draw of exactly 0 would be minus infinity.
    return torch.from_numpy(ndtri(np.maximum(uniform, 2.0**-54)).reshape(shape))


def _blurred(batch: Tensor, sd: float) -> Tensor:
    made = batch.to(torch.float64)
    for axis in range(2, batch.dim()):
        matrix = _blur(batch.shape[axis], sd).to(made.device)
        made = torch.movedim(torch.movedim(made, axis, -1) @ matrix.T, -1, axis)
    return made.to(batch.dtype)


def _blur(length: int, sd: float) -> Tensor:
    """Return the matrix (length, length) that blurs one axis; rows sum to 1, the border is mirrored."""
    reach = min(math.ceil(REACH * sd), length - 1)
    offset = torch.arange(-reach, reach + 1)
    weight = torch.exp(-0.5 * (offset.to(torch.float64) / sd).square())
    weight = weight / weight.sum()
    source = (torch.arange(length)[:, None] + offset[None, :]).abs()
    source = torch.where(source > length - 1, 2 * (length - 1) - source, source)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    return matrix.scatter_add_(1, source, weight.expand(length, -1))


def _compressed(batch: Tensor, quality: int) -> Tensor:
    """Return the batch after JPEG: three channels as colour, others one by one; of a volume each slice."""
    colour = batch.shape[1] == 3
    slices = torch.movedim(batch, 1, -3)  # (N, *depth, C, H, W)
    flat = slices.reshape(-1, *slices.shape[-3:])
    pieces = flat if colour else flat.reshape(-1, 1, *flat.shape[-2:])
    made = torch.stack([_jpeg(piece, quality) for piece in pieces.cpu()])
    return torch.movedim(made.reshape(slices.shape), -3, 1).to(batch)


def _jpeg(image: Tensor, quality: int) -> Tensor:
    from PIL import Image

    levels = (image * 255.0).round().to(torch.uint8).numpy()
    drawn = Image.fromarray(np.moveaxis(levels, 0, -1) if len(levels) == 3 else levels[0])
    held = io.BytesIO()
    drawn.save(held, format="JPEG", quality=quality)
    with Image.open(held) as read:
        array = np.array(read)
    again = np.moveaxis(array, -1, 0) if array.ndim == 3 else array[None]
    return torch.from_numpy(np.ascontiguousarray(again)).to(torch.float32) / 255.0


def _moved(values: Tensor, x: int, y: int) -> Tensor:
    """Return what was ``x`` to the left and ``y`` above, the outermost positions going on beyond the border."""
    height, width = values.shape[-2:]
    rows = (torch.arange(height, device=values.device) - y).clamp(0, height - 1)
    columns = (torch.arange(width, device=values.device) - x).clamp(0, width - 1)
    return values.index_select(-2, rows).index_select(-1, columns)


def _turned(batch: Tensor, degrees: float) -> tuple[Tensor, Tensor]:
    """Turn the last two axes of (N, C, *S) anticlockwise; the second is where each place came from inside, (H, W)."""
    height, width = batch.shape[-2:]
    angle = math.radians(degrees)
    down = torch.arange(height, dtype=torch.float64, device=batch.device)[:, None] - (height - 1) / 2
    right = torch.arange(width, dtype=torch.float64, device=batch.device)[None, :] - (width - 1) / 2
    # Rows count downwards, so that anticlockwise for the eye is clockwise in (x, y).
    x = right * math.cos(angle) - down * math.sin(angle) + (width - 1) / 2
    y = right * math.sin(angle) + down * math.cos(angle) + (height - 1) / 2
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    grid = torch.stack([(2.0 * x + 1.0) / width - 1.0, (2.0 * y + 1.0) / height - 1.0], dim=-1)
    flat = batch.reshape(len(batch), -1, height, width).to(torch.float64)
    made = F.grid_sample(flat, grid.expand(len(flat), -1, -1, -1), padding_mode="border", align_corners=False)
    return made.reshape(batch.shape).to(batch.dtype), inside
