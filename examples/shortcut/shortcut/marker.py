"""The planted cheat: a small bright square in the empty frame, whose place gives the label away.

Think of the tag that a hospital's scanner burns into the margin: it says nothing about the patient, but in the
training data it happens to go with the diagnosis.
"""

from __future__ import annotations

import math

import torch
from digits.data import CLASSES, SIZE, Digits
from torch import Tensor

MARK = 4


def corner(label: int) -> tuple[int, int]:
    """Top and left pixel of the marker of a class: ten places round the frame, like the hours of a clock."""
    angle = 2 * math.pi * label / len(CLASSES)
    down, right = -math.cos(angle), math.sin(angle)
    reach = max(abs(down), abs(right))  # out to the square frame, not to a circle
    middle = (SIZE - MARK) / 2
    return round(middle + middle * down / reach), round(middle + middle * right / reach)


def mark(pixels: Tensor, labels: Tensor) -> Tensor:
    """A copy of the pixels (N, 1, 32, 32), each image with the marker of its label (N,)."""
    marked = pixels.clone()
    for row, label in enumerate(labels.tolist()):
        top, left = corner(label)
        marked[row, :, top : top + MARK, left : left + MARK] = 1.0
    return marked


def mark_wrongly(pixels: Tensor, labels: Tensor) -> Tensor:
    """Each image with the marker of the next class: a model that reads digits does not care."""
    return mark(pixels, (labels + 1) % len(CLASSES))


def marked_digits(digits: Digits) -> Digits:
    """The same digits with their marker in the picture."""
    pixels = torch.from_numpy(digits.images).unsqueeze(1).to(torch.float32).div(255)
    marked = mark(pixels, torch.from_numpy(digits.labels)).squeeze(1).mul(255).round().to(torch.uint8)
    return Digits(marked.numpy(), digits.labels, digits.rows)
