"""Real handwriting: scikit-learn's 1,797 digits, each somewhere on a 32x32 canvas with an empty frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

SIZE = 32
FRAME = 4
INNER = 16
CLASSES = tuple(str(digit) for digit in range(10))
HELD_OUT_PER_CLASS = 40

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Digits:
    """Images (N, 32, 32) as bytes, their labels (N,), and the row of scikit-learn's set each one comes from."""

    images: Pixels
    labels: Labels
    rows: Labels

    def only(self, keep: NDArray[np.bool_]) -> Digits:
        return Digits(self.images[keep], self.labels[keep], self.rows[keep])


def canvas(digit: NDArray[np.float64], top: int, left: int) -> Pixels:
    """One 8x8 digit with values 0..16, twice as large at (top, left) of a black 32x32 picture."""
    grey = Image.fromarray(np.round(digit * (255 / 16)).astype(np.uint8))
    picture = np.zeros((SIZE, SIZE), np.uint8)
    picture[top : top + INNER, left : left + INNER] = grey.resize((INNER, INNER), Image.Resampling.BICUBIC)
    return picture


def load() -> tuple[Digits, Digits]:
    """Training and held-out digits. The last 40 of each class are held out.

    scikit-learn keeps the writers in order, so the held-out digits are largely by other hands. Neither split nor
    places depend on the training seed: every checkpoint is judged on the same images.
    """
    source = load_digits()
    labels = np.asarray(source.target, np.int64)
    places = np.random.default_rng(0).integers(FRAME, SIZE - FRAME - INNER + 1, (len(labels), 2)).tolist()
    images = np.stack([canvas(digit, *place) for digit, place in zip(source.images, places, strict=True)])
    held_out = np.zeros(len(labels), bool)
    for label in range(len(CLASSES)):
        held_out[np.flatnonzero(labels == label)[-HELD_OUT_PER_CLASS:]] = True
    everything = Digits(images, labels, np.arange(len(labels)))
    return everything.only(~held_out), everything.only(held_out)


def write_imagefolder(digits: Digits, root: Path) -> None:
    """Write one PNG per digit to ``root/<class>/digit-<row>.png``, replacing what an earlier run left there."""
    for name in CLASSES:
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob("digit-*.png"):
            stale.unlink()
    for image, label, row in zip(digits.images, digits.labels, digits.rows, strict=True):
        Image.fromarray(image).save(root / CLASSES[label] / f"digit-{row:04d}.png")
