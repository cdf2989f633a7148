"""Negative controls: explanations that know nothing of what the model found in the image.

A check that they pass is a check that proves nothing; they are what other methods are held against.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pytest_saliency.decide.randomness import Stream, seed_from
from pytest_saliency.engine.preprocess import LUMA
from pytest_saliency.errors import MethodError


def _absent(_: int) -> Tensor:
    raise ValueError("this control needs the images or the model, which its caller did not give")


@dataclass(frozen=True)
class ControlInput:
    """What a control may see; what costs something is a function.

    Attributes
    ----------
    ids, target, draw
        Case ids, target word, and which repeat: empty, or ``jitter``.
    classes
        The class each map is for, (N,).
    gradcam
        Grad-CAM's maps of the model, (N, *grid).
    pixels
        Given a position in the cases, the image (C, *S) in [0, 1] after geometry, jittered where the draw is.
    reinitialised
        Given a seed, Grad-CAM's maps (N, *grid) of a re-initialised copy of the model, for ``classes``.
    clusters
        The cluster of each case, if they have any: what is averaged leaves an image's own cluster out.
    """

    ids: tuple[str, ...]
    target: str
    draw: str
    classes: Tensor
    gradcam: Tensor
    pixels: Callable[[int], Tensor] = field(default=_absent)
    reinitialised: Callable[[int], Tensor] = field(default=_absent)
    clusters: Sequence[Hashable] | None = None


@dataclass(frozen=True)
class Control:
    """A control and its full name."""

    name: str
    label: str
    version: int
    compute: Callable[[ControlInput], Tensor]
    source: str


def _random(given: ControlInput) -> Tensor:
    """Independent uniform values, another draw for every case, target and repeat, the same on every machine."""
    grid = given.gradcam.shape[1:]
    size = math.prod(grid)
    rows = np.empty((len(given.ids), size), dtype=np.float32)
    for row, case in zip(rows, given.ids, strict=True):
        row[:] = Stream(seed_from("random", case, given.target, given.draw)).uniform(size)
    return torch.from_numpy(rows).reshape(len(given.ids), *grid)


def _centre(given: ControlInput) -> Tensor:
    """A Gaussian at the centre of the image, its standard deviation a quarter of each side."""
    grid = given.gradcam.shape[1:]
    axes = [((torch.arange(side) + 0.5) / side - 0.5) / 0.25 for side in grid]
    mesh = torch.meshgrid(*axes, indexing="ij")
    squared = sum((axis.square() for axis in mesh), torch.zeros(grid))
    return torch.exp(-0.5 * squared).expand(len(given.ids), *grid).clone()


def _edges(given: ControlInput) -> Tensor:
    """The strength of the image's edges, averaged over the area of each cell of the grid."""
    grid = given.gradcam.shape[1:]
    rows = []
    for index in range(len(given.ids)):
        grey = luminance(given.pixels(index))
        if grey.dim() != len(grid):
            raise MethodError(
                f"method 'edges' brings images with {grey.dim()} spatial dimensions to the target layer's grid, which"
                f" has {len(grid)}: {tuple(grid)}. Choose a layer whose grid has as many, or another control."
            )
        rows.append(_averaged(sobel(grey), grid))
    return torch.stack(rows)


def luminance(pixels: Tensor) -> Tensor:
    """Return the luminance (*S) of ``pixels`` (C, *S): BT.601 of three channels, else the mean of all."""
    pixels = pixels.to(torch.float32)
    if len(pixels) != 3:
        return pixels.mean(0)
    return torch.einsum("c,c...->...", torch.tensor(LUMA, dtype=pixels.dtype, device=pixels.device), pixels)


def sobel(grey: Tensor) -> Tensor:
    """Return the length of the Sobel gradient of ``grey`` (*S), any number of dimensions, in values a pixel.

    Along each axis: half the difference of the two neighbours, smoothed with 1/4, 1/2, 1/4 along every other axis.
    Beyond the border the outermost value goes on, so that the border itself is no edge.
    """
    squared = torch.zeros_like(grey)
    for axis in range(grey.dim()):
        slope = grey
        for other in range(grey.dim()):
            before, after = _neighbours(slope, other)
            slope = (after - before) / 2 if other == axis else (before + 2 * slope + after) / 4
        squared += slope.square()
    return squared.sqrt()


def _neighbours(values: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    place = torch.arange(values.shape[axis], device=values.device)
    last = values.shape[axis] - 1
    return values.index_select(axis, (place - 1).clamp(min=0)), values.index_select(axis, (place + 1).clamp(max=last))


def _averaged(values: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Return ``values`` (*S) averaged over the area of each cell of ``grid``."""
    for axis, cells in enumerate(grid):
        rows = values.movedim(axis, -1)
        pooled = F.adaptive_avg_pool1d(rows.reshape(1, -1, rows.shape[-1]), cells)
        values = pooled.reshape(*rows.shape[:-1], cells).movedim(-1, axis)
    return values.cpu()


def _mean_map(given: ControlInput) -> Tensor:
    """The mean of the other images' rectified Grad-CAM maps, each scaled to a maximum of 1."""
    return mean_of_others(given.gradcam, None, given.clusters)


def _class_mean(given: ControlInput) -> Tensor:
    """The mean of the rectified Grad-CAM maps of the class's other images, each scaled to a maximum of 1."""
    return mean_of_others(given.gradcam, given.classes, given.clusters)


def mean_of_others(maps: Tensor, classes: Tensor | None, clusters: Sequence[Hashable] | None) -> Tensor:
    """Return for each image the mean (N, *grid) of the other images' rectified maps, each scaled to a maximum of 1.

    ``classes`` (N,): only of images of the same class. Images of the same cluster are left out with it, so that the
    mean knows nothing of the image; zero where no image is left.
    """
    scaled = _scaled(maps).double()
    names = list(range(len(scaled))) if clusters is None else list(clusters)
    kinds = [0] * len(scaled) if classes is None else classes.tolist()
    together: dict[object, list[int]] = {}
    own: dict[object, list[int]] = {}
    for i, (kind, name) in enumerate(zip(kinds, names, strict=True)):
        together.setdefault(kind, []).append(i)
        own.setdefault((kind, name), []).append(i)
    totals = {kind: scaled[rows].sum(0) for kind, rows in together.items()}
    made = torch.zeros_like(scaled)
    for rows in own.values():
        kind = kinds[rows[0]]
        left = len(together[kind]) - len(rows)
        if left:
            made[rows] = (totals[kind] - scaled[rows].sum(0)) / left
    # What a subtraction leaves of nothing is no evidence.
    return torch.where(made > 1e-9, made, 0.0).to(maps.dtype)


def _scaled(maps: Tensor) -> Tensor:
    """Return the positive part of ``maps`` (N, *grid), each with a maximum of 1; zero where there is none."""
    maps = torch.nan_to_num(maps, nan=0.0, posinf=0.0, neginf=0.0).clamp(min=0)
    peak = maps.flatten(1).amax(1).reshape(-1, *(1,) * (maps.dim() - 1))
    return maps / torch.where(peak > 0, peak, torch.ones_like(peak))


def _random_model(given: ControlInput) -> Tensor:
    """Grad-CAM at the same layer of one network that has learned nothing, the same for every target and repeat."""
    return given.reinitialised(seed_from("random_model"))


RANDOM = Control("random", "random", 1, _random, "independent uniform noise")
CENTRE = Control("centre", "centre", 1, _centre, "Gaussian at the image centre")
EDGES = Control("edges", "edges", 1, _edges, "Sobel magnitude of the image's luminance")
MEAN_MAP = Control("mean_map", "mean_map[gradcam]", 2, _mean_map, "mean Grad-CAM map of the other cases")
CLASS_MEAN = Control(
    "class_mean", "class_mean[gradcam]", 2, _class_mean, "mean Grad-CAM map of the other cases of the class"
)
RANDOM_MODEL = Control("random_model", "random_model[gradcam]", 1, _random_model, "Grad-CAM of a re-initialised copy")
