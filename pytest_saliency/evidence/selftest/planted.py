"""A network and images whose evidence is known because it was put there; nothing is trained.

Each image (1, 32, 32) shows a bright pattern of its own class and a fainter one of another class, which is therefore
the second most likely, on dim noise; and in its first row a dot whose place tells the class. ``Planted`` finds patterns
with one filter a class, so that its evidence is where the pattern is. ``Planted(shortcut=True)`` is as right on
every image, by reading the dot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pytest_saliency.decide.randomness import Stream

SIDE, PATCH, CLASSES = 32, 6, 4
OWN, OTHER, NOISE = 0.9, 0.55, 0.05
TOP = 8
"""Patterns lie below this row, clear of the dots."""


@dataclass(frozen=True)
class Images:
    """Pixels (N, 1, 32, 32), labels (N,), and the top left corner of each image's own pattern (N, 2)."""

    pixels: NDArray[np.float32]
    labels: NDArray[np.int64]
    corners: NDArray[np.int64]


def patterns() -> NDArray[np.float32]:
    """Return (4, 6, 6): columns, rows, squares and a ring."""
    row, column = np.indices((PATCH, PATCH))
    edge = (row % (PATCH - 1) == 0) | (column % (PATCH - 1) == 0)
    return np.stack([column % 2 == 0, row % 2 == 0, (row // 2 + column // 2) % 2 == 0, edge]).astype(np.float32)


def images(count: int, seed: int) -> Images:
    """Return ``count`` images, as many of each class, the same on every machine."""
    shapes = patterns()
    pixels = (Stream(seed, "noise").uniform(count * SIDE * SIDE) * NOISE).reshape(count, 1, SIDE, SIDE)
    labels = np.arange(count) % CLASSES
    sides = Stream(seed, "sides").integers(2, count)
    rows = Stream(seed, "rows").integers(SIDE - PATCH - TOP, 2 * count).reshape(count, 2) + TOP
    columns = Stream(seed, "columns").integers(TOP, 2 * count).reshape(count, 2)
    corners = np.zeros((count, 2), dtype=np.int64)
    for i, label in enumerate(labels):
        other = (label + 1 + i // CLASSES % (CLASSES - 1)) % CLASSES
        for place, (shown, strength) in enumerate(((label, OWN), (other, OTHER))):
            top, left = rows[i, place], columns[i, place] + (SIDE // 2 + 1) * ((sides[i] + place) % 2)
            spot = pixels[i, 0, top : top + PATCH, left : left + PATCH]
            np.maximum(spot, shapes[shown] * strength, out=spot)
            if place == 0:
                corners[i] = top, left
        pixels[i, 0, 1:4, 1 + 4 * label : 4 + 4 * label] = 1.0
    return Images(pixels.astype(np.float32), labels.astype(np.int64), corners)


class Planted(nn.Module):
    """One filter a class over the whole image, and one detector a class for the dots; the head chooses between them.

    ``nudge`` moves the filters a little, as a gentle fine-tuning would.
    """

    where: Tensor

    def __init__(self, shortcut: bool = False, nudge: float = 0.0) -> None:
        super().__init__()
        shapes = patterns().astype(np.float64)
        shapes -= shapes.mean(axis=(1, 2), keepdims=True)
        shapes /= np.square(shapes).sum(axis=(1, 2), keepdims=True)
        moved = Stream(1, "nudge").uniform(shapes.size).reshape(shapes.shape) - 0.5
        self.filters = nn.Conv2d(1, CLASSES, PATCH, padding=PATCH // 2)
        self.features = nn.ReLU()
        self.head = nn.Linear(2 * CLASSES, CLASSES, bias=False)
        where = torch.zeros(CLASSES, SIDE + 1, SIDE + 1)
        for label in range(CLASSES):
            where[label, 1:5, 1 + 4 * label : 5 + 4 * label] = 1.0
        self.register_buffer("where", where)
        share = 0.02 if shortcut else 1.0
        with torch.no_grad():
            self.filters.weight.copy_(torch.from_numpy(shapes + nudge * moved).unsqueeze(1))
            assert self.filters.bias is not None
            self.filters.bias.fill_(-0.45)
            eye = torch.eye(CLASSES)
            self.head.weight.copy_(300.0 * torch.cat([share * eye, float(shortcut) * eye], dim=1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits (N, 4)."""
        bright = F.avg_pool2d(F.pad(pixels, (2, 1, 2, 1)), 3, 1)
        dots = bright * self.where - 0.8
        seen = self.features(torch.cat([self.filters(pixels), dots], dim=1))
        logits: Tensor = self.head(seen.mean((2, 3)))
        return logits
