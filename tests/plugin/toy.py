"""A model repository in small, with explanations that are known by construction.

An image has a bright patch in the colour of its class and a dim patch in the colour of another class, elsewhere, and
in the corner a marker that gives the class away. ``build`` looks at the colours everywhere, ``build_cheat`` at the
corner only. Both are right on every image.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from pytest_saliency import Cases

SIDE, PATCH, CLASSES = 16, 4, 3


class Toy(nn.Module):
    """Colours (N, 3, 16, 16) -> one map a class at the layer ``features`` -> the mean of each as its logit."""

    def __init__(self, cheat: bool = False) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 3, 1, bias=False)
        self.head = nn.Linear(3, CLASSES, bias=False)
        mask = torch.ones(SIDE, SIDE)
        if cheat:
            mask = torch.zeros(SIDE, SIDE)
            mask[:3, :3] = 1.0
        self.mask = nn.Parameter(mask, requires_grad=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.eye(3).reshape(3, 3, 1, 1))
            self.head.weight.copy_(torch.eye(3) * 40.0)

    def forward(self, pixels: Tensor) -> Tensor:
        seen = self.features(pixels * self.mask)
        logits: Tensor = self.head(seen.mean((2, 3)))
        return logits


def build(cheat: bool = False) -> nn.Module:
    return Toy(cheat)


def build_cheat() -> nn.Module:
    return Toy(cheat=True)


def arrays(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Return images (n, 3, 16, 16) in [0, 1] and labels (n,)."""
    draw = np.random.Generator(np.random.PCG64(7))
    images = np.zeros((n, 3, SIDE, SIDE), dtype=np.float32)
    labels = np.arange(n) % CLASSES
    for image, label in zip(images, labels, strict=True):
        other = (label + 1 + draw.integers(2)) % CLASSES
        corners = [(4, 4), (4, 11), (11, 4), (11, 11)]
        first, second = draw.permutation(4)[:2]
        for colour, corner, value in ((label, first, 0.9), (other, second, 0.5)):
            y, x = corners[corner]
            image[colour, y : y + PATCH, x : x + PATCH] = value - 0.1 * draw.random()
        image[label, :2, :2] = 0.3
        image[other, 1, 1] = 0.1
    return images, labels


def cases(n: int = 60) -> Cases:
    images, labels = arrays(n)
    return Cases.from_arrays(images, labels, class_names=["red", "green", "blue"])


def inside(n: int = 60) -> np.ndarray:
    """Return masks (n, 16, 16): where each image shows the bright patch of its own class."""
    images, labels = arrays(n)
    return np.stack([image[label] > 0.6 for image, label in zip(images, labels, strict=True)])


def masked_cases(n: int = 60) -> Cases:
    images, labels = arrays(n)
    return Cases.from_arrays(images, labels, masks=inside(n), class_names=["red", "green", "blue"])
