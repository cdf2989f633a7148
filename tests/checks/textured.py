"""A network and images on which explainers that know nothing fail: the evidence is neither central nor has most edges.

Every image shows the pattern of its class (see ``fixtures.planted``), a fainter one of another class, and patches of
coarse random texture, which have the stronger edges and no meaning. The network is a bank of matched filters and takes
images of any size, so that mosaics of whole images are known answers too.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from fixtures.planted import CLASSES, PATCH, patterns

SIDE = 32


class Bank(nn.Module):
    """Matched filters, one channel a class, then global pooling: the evidence for a class is where its pattern is."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        bank = patterns()[:classes]
        bank = bank - bank.mean((1, 2), keepdim=True)
        bank = bank / bank.square().sum((1, 2), keepdim=True)
        self.filters = nn.Conv2d(1, classes, PATCH, padding=PATCH // 2)
        self.features = nn.ReLU()
        self.head = nn.Linear(classes, classes, bias=False)
        with torch.no_grad():
            self.filters.weight.copy_(bank.unsqueeze(1))
            self.filters.bias.fill_(-0.3)
            # Less the mean over the classes, which changes no probability: what speaks for others speaks against.
            self.head.weight.copy_(300.0 * (torch.eye(classes) - 1.0 / classes))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(self.filters(x)).mean((2, 3)))
        return logits


def textured_images(count: int, classes: int = CLASSES, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return images (count, 1, 32, 32) in [0, 1] and labels (count,)."""
    draw = np.random.Generator(np.random.PCG64(seed))
    bank = patterns().numpy()
    images = draw.random((count, 1, SIDE, SIDE)) * 0.05
    labels = np.arange(count) % classes
    for i, label in enumerate(labels):
        other = (label + 1 + draw.integers(classes - 1)) % classes
        stamps = [bank[label] * 0.7, bank[other] * 0.4]
        # Two bright stripes of two pixels have no pattern's shape; their edges are the strongest of the image.
        stamps += [np.kron(draw.permutation([0.0, 1.0, 1.0]), np.ones((PATCH, 2))) for _ in range(3)]
        free = np.ones((SIDE - PATCH, SIDE - PATCH), dtype=bool)
        free[8:18, 8:18] = False  # nothing at the centre
        for stamp in stamps:
            row, column = divmod(int(draw.choice(np.flatnonzero(free))), SIDE - PATCH)
            images[i, 0, row : row + PATCH, column : column + PATCH] = stamp
            free[max(0, row - PATCH) : row + PATCH + 1, max(0, column - PATCH) : column + PATCH + 1] = False
    return torch.from_numpy(images).float(), torch.from_numpy(labels)
