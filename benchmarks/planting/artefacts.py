"""What is planted into pictures: a sign whose value, the code, may go with the class. -1 is no sign at all.

Every function takes pictures (N, 3, H, W) in [0, 1], a code for each (N,), how many codes there are, and where the
object may lie (N, H, W), and returns a copy. ``touched`` says which pixels may have changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

MARK = 4
FRAME = 2

Apply = Callable[[Tensor, Tensor, int, Tensor], Tensor]


@dataclass(frozen=True)
class Artefact:
    """A sign and where it may lie.

    Attributes
    ----------
    apply
        Puts the sign of each code into its picture.
    codes
        How many values the sign can have: as many as classes, or fewer, in which case classes share them.
    area
        Where pixels may change: ``margin``, ``outside`` the object, or anywhere.
    """

    apply: Apply
    codes: Callable[[int], int]
    area: str

    def code(self, labels: Tensor, classes: int) -> Tensor:
        """Return the code that goes with each label."""
        return labels % self.codes(classes)

    def put(self, images: Tensor, codes: Tensor, classes: int, inside: Tensor) -> Tensor:
        """Return the pictures with the signs of ``codes``; a picture with code -1 is left as it is."""
        made = self.apply(images, codes.clamp(min=0), self.codes(classes), inside)
        return torch.where((codes >= 0)[:, None, None, None], made, images)


def margin(size: int) -> Tensor:
    """Return the outer pixels that a mark can lie in, (size, size)."""
    area = torch.ones(size, size, dtype=torch.bool)
    area[MARK:-MARK, MARK:-MARK] = False
    return area


def touched(artefact: Artefact, inside: Tensor) -> Tensor:
    """Return where the sign may change pixels, (N, H, W)."""
    count, size = len(inside), inside.shape[-1]
    if artefact.area == "margin":
        return margin(size).expand(count, -1, -1)
    return ~inside if artefact.area == "outside" else torch.ones_like(inside)


def corner(images: Tensor, codes: Tensor, count: int, inside: Tensor) -> Tensor:
    """A small bright square in the margin whose place is the code: a scanner's tag."""
    made = images.clone()
    size = images.shape[-1]
    for row, code in enumerate(codes.tolist()):
        angle = 2.0 * math.pi * (code + 0.5) / count
        down, right = -math.cos(angle), math.sin(angle)
        reach = max(abs(down), abs(right))
        middle = (size - MARK) / 2
        top, left = round(middle + middle * down / reach), round(middle + middle * right / reach)
        made[row, :, top : top + MARK, left : left + MARK] = 0.95
    return made


def border(images: Tensor, codes: Tensor, count: int, inside: Tensor) -> Tensor:
    """A thin frame whose grey tone is the code: another film holder."""
    tone = (0.15 + 0.8 * codes.float() / max(1, count - 1))[:, None, None, None]
    size = images.shape[-1]
    frame = torch.ones(size, size, dtype=torch.bool)
    frame[FRAME:-FRAME, FRAME:-FRAME] = False
    return torch.where(frame, tone, images)


def resolution(images: Tensor, codes: Tensor, count: int, inside: Tensor) -> Tensor:
    """Somewhat blurred and without its finest noise where the code is 1: another detector."""
    padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    coarse = 0.25 * images + 0.75 * functional.avg_pool2d(padded, 3, stride=1)
    return torch.where((codes == 1)[:, None, None, None], coarse, images)


def colour(images: Tensor, codes: Tensor, count: int, inside: Tensor) -> Tensor:
    """A tint whose hue is the code: another stain or lamp."""
    hue = 2.0 * math.pi * codes.float() / count
    tint = torch.stack([torch.cos(hue + 2.0 * math.pi * channel / 3.0) for channel in range(3)], dim=1)
    return ((images + 0.04) * (1.0 + 0.45 * tint[:, :, None, None])).clamp(0.0, 1.0)


def background(images: Tensor, codes: Tensor, count: int, inside: Tensor) -> Tensor:
    """Faint stripes outside the object whose direction is the code: another table."""
    size = images.shape[-1]
    line = torch.arange(size, dtype=torch.float32)
    angle = (math.pi * codes.float() / count)[:, None, None]
    wave = torch.sin((line[:, None] * torch.cos(angle) + line[None, :] * torch.sin(angle)) * (2.0 * math.pi / 4.0))
    striped = (images + 0.10 * (1.0 + wave)[:, None]).clamp(0.0, 1.0)
    return torch.where(inside[:, None], images, striped)


def _one_a_class(classes: int) -> int:
    return classes


def _two(classes: int) -> int:
    return 2


ARTEFACTS: Mapping[str, Artefact] = {
    "corner": Artefact(corner, _one_a_class, "margin"),
    "border": Artefact(border, _one_a_class, "margin"),
    "resolution": Artefact(resolution, _two, "anywhere"),
    "colour": Artefact(colour, _one_a_class, "anywhere"),
    "background": Artefact(background, _one_a_class, "outside"),
}
