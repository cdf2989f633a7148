"""Pictures as the network sees them, decoded once into one file, so that every epoch reads plain bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_saliency.engine.images import FileImage
from pytest_saliency.engine.preprocess import Preprocess
from twostage.images import Picture

Bytes = NDArray[np.uint8]


def decoded(root: Path, pictures: Sequence[Picture], size: int, channels: int, cache: Path) -> Bytes:
    """Return (N, channels, size, size) as bytes, mapped from a file in ``cache`` that is made if it is not there.

    Each image is read and resized by the code that the contract's checks use, so that training and checks see alike.

    Raises
    ------
    SaliencyError
        An image that cannot be read, named.
    """
    told = "".join(one.path + one.digest for one in pictures)
    name = hashlib.sha256(f"1 {size} {channels} {told}".encode()).hexdigest()[:16]
    file = cache / f"{name}.npy"
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        beside = cache / f"{name}.part"
        view = Preprocess(resize=(size, size), channels=channels)
        made = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
            beside, mode="w+", dtype=np.uint8, shape=(len(pictures), channels, size, size)
        )
        for row, one in enumerate(pictures):
            pixels = view.geometry(FileImage(root / one.path).load(one.path), one.path)
            made[row] = pixels.clamp(0, 1).mul(255).round().to(torch.uint8).numpy()
        made.flush()
        del made
        beside.replace(file)
    return np.load(file, mmap_mode="r")  # type: ignore[no-any-return]


def labels_of(pictures: Sequence[Picture]) -> Tensor:
    return torch.tensor([one.label for one in pictures], dtype=torch.int64)
