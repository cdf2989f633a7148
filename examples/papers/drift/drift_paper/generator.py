"""Generated pictures in the manner of chest X-rays: five classes whose signs overlap, and a source task to learn first.

``clear`` shows nothing; ``focal`` one dense patch in a lung; ``patchy`` several faint patches in both; ``basal`` haze
with a level at the base of a lung; ``mixed`` a patch and a basal haze. So no sign belongs to one class alone, as with
the findings of X-rays, and telling ``mixed`` takes two places at once. Anatomy is drawn before the class is looked at.
"""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

CLASSES = ("basal", "clear", "focal", "mixed", "patchy")  # in the order of their folders
SOURCE_CLASSES = 6
PATCHES = 5


def chests(labels: Tensor, side: int, seed: int, signs: float = 1.0) -> Tensor:
    """Return pictures (N, side, side) in [0, 1] for indices into ``CLASSES``; anatomy depends on the seed alone.

    ``signs`` is how strong the signs are.
    """
    generator = torch.Generator().manual_seed(seed)
    count = len(labels)

    def drawn(low: float, high: float, *more: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *(more or (1, 1)), generator=generator)

    line = (torch.arange(side, dtype=torch.float32) + 0.5) / side * 2 - 1
    y, x = line[:, None] - drawn(-0.05, 0.05), line[None, :] - drawn(-0.05, 0.05)
    body = _ellipse(y - 0.15, x, drawn(1.10, 1.25), drawn(0.85, 0.95), side)
    made = 0.08 + body * drawn(0.45, 0.58)
    middles, lungs = [], []
    for sign in (-1.0, 1.0):
        middle = sign * drawn(0.38, 0.44)
        lung = _ellipse(y + 0.02, x - middle, drawn(0.60, 0.70), drawn(0.27, 0.32), side)
        made = made - lung * drawn(0.24, 0.32)
        middles.append(middle)
        lungs.append(lung)
    both = lungs[0] + lungs[1]
    ribs = (
        torch.sin((y + 0.35 * (x.abs() - 0.4).square() * 3) * drawn(15.0, 18.0) + drawn(0.0, 6.3)).clamp(min=0.6) - 0.6
    )
    made = made + body * ribs * drawn(0.15, 0.25)
    made = made + _ellipse(y, x, drawn(1.0, 1.1), drawn(0.07, 0.10), side) * drawn(0.10, 0.16)
    made = made + _ellipse(y - 0.25, x - 0.12, drawn(0.30, 0.36), drawn(0.22, 0.28), side) * drawn(0.12, 0.20)

    own = drawn(0.0, 1.0) < 0.5
    dense, faint, haze = drawn(0.25, 0.40), drawn(0.16, 0.26), drawn(0.22, 0.35)
    patch_y, patch_x = drawn(-0.40, 0.25), torch.where(own, middles[0], middles[1]) + drawn(-0.10, 0.10)
    patch = _blob(y - patch_y, x - patch_x, drawn(0.10, 0.15)) * both
    spread = torch.zeros_like(made)
    for number in range(PATCHES):
        middle = middles[number % 2]
        spread = spread + _blob(y - drawn(-0.45, 0.40), x - middle - drawn(-0.14, 0.14), drawn(0.07, 0.12))
    spread = spread.clamp(max=1.2) * both
    level = drawn(0.22, 0.38)
    rise = torch.sigmoid((y - level + 0.25 * (x.abs() - 0.4)) * 18)
    base = rise * torch.where(drawn(0.0, 1.0) < 0.5, lungs[0], lungs[1])

    shown = {
        "basal": base * haze,
        "clear": torch.zeros_like(made),
        "focal": patch * dense,
        "mixed": patch * dense + base * haze,
        "patchy": spread * faint,
    }
    every = torch.stack([shown[name] for name in CLASSES])
    made = made + signs * every[labels, torch.arange(count)]
    return (made + 0.02 * torch.randn(count, side, side, generator=generator)).clamp(0.0, 1.0)


def shapes(labels: Tensor, side: int, seed: int) -> Tensor:
    """Return the source task, (N, side, side) in [0, 1]: one of six textures in a window on a smooth ground.

    It stands in for ImageNet where no published weights are at hand; nothing in it looks like a chest.
    """
    generator = torch.Generator().manual_seed(seed)
    count = len(labels)

    def drawn(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, generator=generator)

    line = (torch.arange(side, dtype=torch.float32) + 0.5) / side * 2 - 1
    turn, y0, x0 = drawn(0.0, 3.1416), drawn(-0.4, 0.4), drawn(-0.4, 0.4)
    y, x = line[:, None] - y0, line[None, :] - x0
    v, u = y * torch.cos(turn) - x * torch.sin(turn), y * torch.sin(turn) + x * torch.cos(turn)
    reach, pitch = torch.sqrt(u.square() + v.square()), drawn(14.0, 20.0)
    textures = torch.stack(
        [
            torch.exp(-((reach / 0.22).square())),
            torch.exp(-(((reach - 0.35) / 0.08).square())),
            torch.sin(u * pitch),
            torch.sin(u * pitch) * torch.sin(v * pitch),
            torch.tanh(6 * u),
            torch.sin(reach * pitch),
        ]
    )
    coarse = torch.randn(count, 1, 6, 6, generator=generator)
    ground = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=False)[:, 0]
    window = torch.sigmoid((0.55 - reach) * 14)
    made = 0.45 + 0.10 * ground + window * textures[labels, torch.arange(count)] * drawn(0.12, 0.25)
    return (made + 0.03 * torch.randn(count, side, side, generator=generator)).clamp(0.0, 1.0)


def write_folder(root: Path, count: int, side: int, seed: int, signs: float = 1.0) -> None:
    """Write ``count`` chests of each class to ``root/<class>/patient00012_0.png``; one patient, one picture."""
    for label, name in enumerate(CLASSES):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        made = chests(torch.full((count,), label), side, seed * 1000 + label, signs)
        for row, picture in enumerate(made.mul(255).round().to(torch.uint8).numpy()):
            Image.fromarray(picture).save(folder / f"patient{label}{row:04d}_0.png")


def _ellipse(y: Tensor, x: Tensor, tall: Tensor, wide: Tensor, side: int) -> Tensor:
    """Return 1 inside, 0 outside, with an edge about a pixel wide."""
    reach = torch.sqrt((y / tall).square() + (x / wide).square() + 1e-9)
    return ((1.0 - reach) * torch.minimum(tall, wide) * side / 2 + 0.5).clamp(0.0, 1.0)


def _blob(y: Tensor, x: Tensor, radius: Tensor) -> Tensor:
    return torch.exp(-((y.square() + x.square()) / (2 * (radius * 0.6).square())))
