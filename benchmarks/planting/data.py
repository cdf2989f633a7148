"""Two data sets of small pictures, each in three parts: what a model is trained on, fine-tuned on, and judged on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

PORTABLE = 0.4
"""Share of the pictures of the group ``portable``; the others are ``fixed``. Nothing differs between them, unless
planted."""


@dataclass(frozen=True)
class Part:
    """Pictures (N, 3, H, W) in [0, 1], labels (N,), which of them are of the group ``portable`` (N,).

    ``object`` is True where what is to be recognised may lie (N, H, W): body or digit, not the background.
    """

    images: Tensor
    labels: Tensor
    portable: Tensor
    object: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def groups(self) -> tuple[str, ...]:
        """The name of each picture's group."""
        return tuple("portable" if one else "fixed" for one in self.portable.tolist())


@dataclass(frozen=True)
class Data:
    """One data set. ``held_out`` is what checks look at; no model is trained on it."""

    name: str
    classes: int
    first: Part
    second: Part
    held_out: Part


def digits(seed: int = 0) -> Data:
    """Return scikit-learn's 1,797 digits, twice as large, each somewhere on a dim 32x32 canvas.

    The last 20 of each digit are held out, largely by other hands than the rest.
    """
    from sklearn.datasets import load_digits

    source = load_digits()
    labels = torch.from_numpy(np.asarray(source.target, np.int64))
    small = torch.from_numpy(np.asarray(source.images, np.float32))[:, None] / 16.0
    large = torch.nn.functional.interpolate(small, size=(16, 16), mode="bilinear", align_corners=False)[:, 0]
    generator = torch.Generator().manual_seed(1000 + seed)
    count = len(labels)
    places = torch.randint(5, 12, (count, 2), generator=generator).tolist()
    images = 0.10 + 0.03 * torch.randn(count, 32, 32, generator=generator)
    inside = torch.zeros(count, 32, 32, dtype=torch.bool)
    for i, (top, left) in enumerate(places):
        images[i, top : top + 16, left : left + 16] += 0.75 * large[i]
        inside[i, top : top + 16, left : left + 16] = True
    images = images.clamp(0.0, 1.0)[:, None].expand(-1, 3, -1, -1).contiguous()
    last = torch.zeros(count, dtype=torch.bool)
    for digit in range(10):
        last[torch.nonzero(labels == digit).flatten()[-20:]] = True
    rest = torch.nonzero(~last).flatten()
    rest = rest[torch.randperm(len(rest), generator=generator)]

    def part(rows: Tensor) -> Part:
        return Part(images[rows], labels[rows], _portable(len(rows), generator), inside[rows])

    return Data("digits", 10, part(rest[:700]), part(rest[700:1300]), part(torch.nonzero(last).flatten()))


def phantoms(seed: int = 0, train: int = 600, held_out: int = 200) -> Data:
    """Return generated scans of four classes of lesion; see ``fixtures/phantom.py``."""
    from fixtures.phantom import phantom

    def part(count: int, number: int) -> Part:
        made = phantom(count, 10 * seed + number)
        body = made.healthy[:, 0] > 0.2
        portable = _portable(count, torch.Generator().manual_seed(2000 + 10 * seed + number))
        return Part(made.images, made.labels, portable, body)

    return Data("phantom", 4, part(train, 1), part(train, 2), part(held_out, 3))


DATA: Mapping[str, Callable[[], Data]] = {"digits": digits, "phantom": phantoms}


def _portable(count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) < PORTABLE
