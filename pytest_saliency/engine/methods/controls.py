"""Negative controls: explanations that know nothing of the image's own evidence.

A check that they pass is a check that proves nothing; they are what other methods are held against.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pytest_saliency.decide.randomness import Stream, seed_from


@dataclass(frozen=True)
class ControlInput:
    """What a control may see: case ids, target word, which draw, the classes, and Grad-CAM's maps (N, *grid)."""

    ids: tuple[str, ...]
    target: str
    draw: str
    classes: Tensor
    gradcam: Tensor


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


def _class_mean(given: ControlInput) -> Tensor:
    """The mean of the rectified Grad-CAM maps of all images with the same class, each scaled to a maximum of 1."""
    maps = torch.nan_to_num(given.gradcam, nan=0.0, posinf=0.0, neginf=0.0).clamp(min=0)
    peak = maps.flatten(1).amax(1).reshape(-1, *(1,) * (maps.dim() - 1))
    scaled = maps / torch.where(peak > 0, peak, torch.ones_like(peak))
    made = torch.empty_like(scaled)
    for index in sorted(set(given.classes.tolist())):
        mine = given.classes == index
        made[mine] = scaled[mine].mean(0)
    return made


RANDOM = Control("random", "random", 1, _random, "independent uniform noise")
CENTRE = Control("centre", "centre", 1, _centre, "Gaussian at the image centre")
CLASS_MEAN = Control("class_mean", "class_mean[gradcam]", 1, _class_mean, "mean Grad-CAM map of the class")
