"""Models that Ray workers import: a small one, and ones that die or fail on some image."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock

import torch
from torch import Tensor, nn

from pytest_saliency import Cases, Subject
from tests.engine.nets import pictures, seed_weights

IMAGES, BATCH = 45, 4


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.conv = nn.Conv2d(8, 6, 3, padding=1)
        self.fc = nn.Linear(6, 5)

    def forward(self, pixels: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.conv(self.features(pixels)).relu().mean((2, 3)))
        return scores


class Dying(Small):
    """Ends its process, as a killed worker does, if the file ``marker`` is there; it is removed first."""

    def __init__(self, marker: Path) -> None:
        super().__init__()
        self.marker = marker

    def forward(self, pixels: Tensor) -> Tensor:
        if len(pixels) > 2 and self.marker.exists():  # the layer is found with two images, by the test's own process
            self.marker.unlink()
            os.kill(os.getpid(), 9)
        return super().forward(pixels)


class Failing(Small):
    """Fails on images that are nearly white."""

    def forward(self, pixels: Tensor) -> Tensor:
        if bool((pixels.mean((1, 2, 3)) > 0.99).any()):
            raise ValueError("too bright")
        return super().forward(pixels)


class Locked(Small):
    """Cannot be pickled."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = Lock()


def subject_of(model: nn.Module, **contrast: object) -> Subject:
    return Subject(seed_weights(model, 3), layer="conv", contrast=contrast or None, name="small")


def cases() -> Cases:
    return Cases.from_arrays(pictures(IMAGES, (3, 10, 12)), [i % 5 for i in range(IMAGES)])


def bright_cases(bright: tuple[int, ...]) -> Cases:
    images = pictures(IMAGES, (3, 10, 12))
    images[list(bright)] = 1.0
    return Cases.from_arrays(images, [i % 5 for i in range(IMAGES)])


def gradient(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
    """An own method that draws at random, so that its seed and its batch show."""
    images = images.clone().requires_grad_(True)
    scores = subject.model(images)
    (made,) = torch.autograd.grad(scores.gather(1, targets.unsqueeze(1)).sum(), images)
    return made.abs().sum(1) + torch.rand(made.shape[2:])
