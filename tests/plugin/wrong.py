"""Models and cases that are wrong in one way each, for contracts to name; beside ``toy.py`` in a scratch repository."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import toy
from torch import Tensor, nn

from pytest_saliency import Cases

number = 7


class Wrong(toy.Toy):
    """The toy model, with a forward pass that does what ``way`` says; what raises spares the look at two images."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def forward(self, pixels: Tensor) -> Any:
        if self.way == "raise" and len(pixels) > 2:
            raise RuntimeError("the table is not there.\nAnd a second line.")
        if self.way == "interrupt" and len(pixels) > 2:
            raise KeyboardInterrupt
        logits = super().forward(pixels)
        made = {
            "dict": {"scores": logits, "aux": logits},
            "none": None,
            "scalar": logits.mean(),
            "detached": logits.detach(),
            "nan": torch.where(self._darkest(pixels), torch.nan, logits),
        }
        return made.get(self.way, logits)

    @staticmethod
    def _darkest(pixels: Tensor) -> Tensor:
        brightness = pixels.mean((1, 2, 3))
        return ((brightness == brightness.min()) & (len(pixels) > 2)).reshape(-1, 1)


class Small(nn.Module):
    """Three channels -> ReLU features -> the mean of each -> a head whose rows are given."""

    def __init__(self, rows: list[list[float]]) -> None:
        super().__init__()
        colours = nn.Conv2d(3, 3, 1, bias=False)
        self.features = nn.Sequential(colours, nn.ReLU())
        self.head = nn.Linear(3, len(rows), bias=False)
        with torch.no_grad():
            colours.weight.copy_(torch.eye(3).reshape(3, 3, 1, 1))
            self.head.weight.copy_(torch.tensor(rows))

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(pixels).mean((2, 3)))
        return logits


def net(way: str) -> nn.Module:
    return Wrong(way)


def small(rows: list[list[float]]) -> nn.Module:
    return Small(rows)


def raises() -> nn.Module:
    raise ValueError("the registry has no model of that name")


def state() -> Any:
    return toy.build().state_dict()


class Listed:
    """A dataset whose fifth item cannot be had."""

    def __init__(self, images: Any, labels: Any) -> None:
        self.items = list(zip(images, labels.tolist(), strict=True))
        self.targets = labels.tolist()

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        if index == 4:
            raise OSError("the archive ends early")
        return self.items[index]


def cases(way: str) -> Any:
    """Return the toy cases, wrong in ``way``."""
    images, labels = toy.arrays(60)
    ids, masks = [f"case-{i:04d}" for i in range(60)], None
    if way == "beyond":
        labels[5] = 9
    elif way == "negative":
        labels[5] = -1
    elif way == "one class":
        labels[:] = 1
    elif way == "two":
        labels %= 2
    elif way == "duplicate":
        ids[7] = ids[3]
    elif way == "masks":
        masks = np.ones((59, 16, 16))
    elif way == "none":
        images, labels, ids = images[:0], labels[:0], []
    elif way == "nan":
        images[4, 0, 0, 0] = np.nan
    elif way == "bright":
        images *= 255.0
    elif way == "grey":
        images = images.mean(1, keepdims=True)
    elif way == "half":
        images, labels, ids = images[::2], labels[::2], ids[::2]
    elif way == "other":
        images, labels = 1.0 - images, labels * 0
    elif way == "arrays":
        return images
    elif way == "names":
        return Cases.from_arrays(images, np.array(["red", "green", "blue"])[labels])
    elif way == "dataset":
        return Cases.from_dataset(Listed(images, labels))
    names = ("red", "green", "blue")[: 2 if way == "two" else 3]
    return Cases.from_arrays(images, labels, ids=ids, masks=masks, class_names=names)
