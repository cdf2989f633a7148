"""Generated pictures for the run at small size: two patches of texture on noise, and the stronger one is the class.

The weaker patch has another class's texture, elsewhere. So a network's runner-up is mostly the weaker patch, and maps
for the two most likely classes of a picture should lie in two places.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 32
PATCH = 12
CLASSES = ("across", "checks", "dots", "down", "falling", "rising")  # sorted, as their folders are read
STRONG, WEAK, NOISE = 0.9, 0.45, 0.06

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Pictures:
    """Pictures (N, 32, 32) as bytes and their labels (N,)."""

    images: Pixels
    labels: NDArray[np.int64]


def pattern(label: int, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return a class's texture at these rows and columns, about -0.5 or 0.5 each."""
    at = {
        "across": rows // 2 % 2,
        "checks": (rows // 3 + columns // 3) % 2,
        "down": columns // 2 % 2,
        "dots": (rows % 4 < 2) & (columns % 4 < 2),
        "falling": (rows - columns) // 3 % 2,
        "rising": (rows + columns) // 3 % 2,
    }[CLASSES[label]]
    made: NDArray[np.float64] = at - 0.5
    return made


def pictures(count: int, seed: int) -> Pictures:
    """Return ``count`` pictures, classes in turn; the same seed gives the same pictures."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    made = 0.5 + NOISE * random.standard_normal((count, SIDE, SIDE))
    rows, columns = np.mgrid[:PATCH, :PATCH]
    for image, label in zip(made, labels.tolist(), strict=True):
        other = (label + int(random.integers(1, len(CLASSES)))) % len(CLASSES)
        # One patch in each half, so that they never overlap.
        lefts = random.integers(0, SIDE // 2 - PATCH + 1, 2) + random.permutation([0, SIDE // 2])
        tops = random.integers(0, SIDE - PATCH + 1, 2)
        turned = bool(random.integers(2))
        phases = random.integers(0, 12, (2, 2)).tolist()
        patches = ((label, STRONG), (other, WEAK))
        for (which, strength), top, left, (down, right) in zip(
            patches, tops.tolist(), lefts.tolist(), phases, strict=True
        ):
            top, left = (left, top) if turned else (top, left)
            image[top : top + PATCH, left : left + PATCH] += strength * pattern(which, rows + down, columns + right)
    return Pictures(np.round(made.clip(0.0, 1.0) * 255).astype(np.uint8), labels)


def write_imagefolder(made: Pictures, root: Path) -> None:
    """Write one PNG a picture to ``root/<class>/<number>.png``."""
    for name in CLASSES:
        (root / name).mkdir(parents=True, exist_ok=True)
    for number, (image, label) in enumerate(zip(made.images, made.labels.tolist(), strict=True)):
        Image.fromarray(image).save(root / CLASSES[label] / f"{number:04d}.png")
