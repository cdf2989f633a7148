"""What methods share whose maps lie on the pixels of the model's input: baselines, and cells to sum pixels in.

A number a pixel is too fine to keep for thousands of images (200 kB each at 224 x 224) and to take regions of, and
attributions add up: that of a cell is the sum over its pixels. So maps are summed in at most ``grid`` cells a side, of
equal width; a pixel on the border of two is shared between them by area. The cells of a map sum to what its pixels sum
to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pytest_saliency.decide.randomness import Stream, seed_from
from pytest_saliency.engine.methods.perturbation import Site
from pytest_saliency.engine.precision import at_least_float32, outside_autocast
from pytest_saliency.errors import MethodError
from pytest_saliency.measure.fills.blur import BLUR
from pytest_saliency.measure.fills.constant import MEAN, ZERO

MOST_CELLS = 56  # a side: 224 / 4, eight times as fine as the last layers of most networks
FILLS = {"zero": ZERO.apply, "mean": MEAN.apply, "blur": BLUR.apply}


def model_inputs(site: Site, pixels: Tensor, method: str) -> Tensor:
    """Return the model's input (n, C, *S) for ``pixels``, at least float32; its grid is the one maps are about.

    Raises
    ------
    MethodError
        The input has not as many spatial dimensions as the images.
    """
    inputs = site.runner.model_input(pixels)
    if inputs.dim() != pixels.dim():
        raise MethodError(
            f"{method} attributes to the pixels of the input of model '{site.runner.subject.name}', whose shape is"
            f" {tuple(inputs.shape[1:])} for an image of shape {tuple(pixels.shape[1:])}: no pixel of one is a pixel of"
            " the other. Use a method that works at a layer, as gradcam."
        )
    return at_least_float32(inputs).detach()


def baseline_pixels(word: str, pixels: Tensor, ids: Sequence[str], draw: str, count: int = 1) -> Tensor:
    """Return ``count`` baselines an image, (n, count, C, *S), pixels in [0, 1] before normalisation.

    ``zero`` is black, ``mean`` each channel's mean over the image itself, ``blur`` the image under a Gaussian whose
    standard deviation is a tenth of each side; of them there is one. ``random`` is uniform noise, drawn from the id of
    the case and the repeat.
    """
    if word != "random":
        return FILLS[word](pixels).unsqueeze(1)
    made = []
    for case in ids:
        stream = Stream(seed_from("baseline", case, draw))
        drawn = torch.from_numpy(stream.uniform(count * math.prod(pixels.shape[1:])))
        made.append(drawn.reshape(count, *pixels.shape[1:]))
    return torch.stack(made).to(pixels.device, pixels.dtype)


def cells_of(size: Sequence[int], most: int = MOST_CELLS) -> tuple[int, ...]:
    """Return the grid of a map over ``size`` pixels: its shape in small, ``most`` cells along the longest side."""
    share = min(1.0, most / max(size))
    return tuple(max(1, min(side, round(side * share))) for side in size)


def summed(values: Tensor, grid: Sequence[int]) -> Tensor:
    """Return ``values`` (..., *S) summed in the cells of ``grid``: one number an axis of S."""
    first = values.dim() - len(grid)
    for axis, cells in enumerate(grid, start=first):
        side = values.shape[axis]
        if side != cells:
            shares = overlaps(side, cells).to(values.device, values.dtype)
            with outside_autocast(values):
                values = (values.movedim(axis, -1) @ shares).movedim(-1, axis)
    return values


def overlaps(side: int, cells: int) -> Tensor:
    """Return which share of each of ``side`` pixels lies in each of ``cells`` of equal width, (side, cells) float64."""
    width = side / cells
    pixel = torch.arange(side, dtype=torch.float64).unsqueeze(1)
    cell = torch.arange(cells, dtype=torch.float64).unsqueeze(0) * width
    return (torch.minimum(pixel + 1, cell + width) - torch.maximum(pixel, cell)).clamp(min=0)
