"""CIFAR-100 from the folder that torchvision reads, and fine-tuning on it as the published programs do it.

The paper says that DenseNet-201 was "retrained" with five seeds and gives no recipe; README.md says what is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from case_paper.sampling import DataError

MEAN, STD = (0.509, 0.487, 0.442), (0.202, 0.200, 0.204)
SEEDS = (0, 1, 2, 3, 4)
FOLDER = "cifar-100-python"


@dataclass(frozen=True)
class Recipe:
    """How a network is fine-tuned; the numbers of the published programs."""

    epochs: int = 20
    batch: int = 32
    step: float = 1e-5
    decay: float = 5e-4
    size: int = 224
    pad: int = 4
    turn: float = 45.0


def read(folder: Path, *, train: bool, download: bool = False) -> Any:
    """Return torchvision's CIFAR-100: ``data`` (N, 32, 32, 3) bytes, ``targets``, ``classes``.

    Raises
    ------
    DataError
        The files are not there or not the published ones, and ``download`` is false or failed.
    """
    from torchvision.datasets import CIFAR100

    root = folder.parent if folder.name == FOLDER else folder
    try:
        return CIFAR100(str(root), train=train, download=download)
    except (RuntimeError, OSError) as error:
        if download:
            raise DataError(f"CIFAR-100 could not be fetched into {root} ({error}); put {FOLDER} there.") from error
        raise DataError(
            f"{root} holds no {FOLDER} folder as published: it is not there, or a file of it is missing or has other"
            " bytes. Give the folder that holds it, or say --download."
        ) from error


def write_imagefolder(dataset: Any, root: Path) -> None:
    """Write one PNG an image to ``root/val/<class>/<number>.png``; what an earlier run wrote is left as it is.

    A file is there whole or not at all, also where a run is cut off.
    """
    for number, (pixels, label) in enumerate(zip(dataset.data, dataset.targets, strict=True)):
        path = root / "val" / f"{label:02d}-{dataset.classes[label]}" / f"{number:05d}.png"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_suffix(".part")
            Image.fromarray(pixels).save(beside, format="PNG")
            beside.replace(path)


def varied(pixels: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Return a batch (N, C, h, w) enlarged to ``size``, each image turned, moved and perhaps flipped, black around it.

    Flips are across and upside down, turns by up to ``turn`` degrees, moves by up to ``pad`` pixels of the large image.
    """
    count = len(pixels)
    drawn = torch.rand((5, count), generator=generator).to(pixels.device)
    angle = (2.0 * drawn[0] - 1.0) * math.radians(recipe.turn)
    move = (2.0 * drawn[1:3] - 1.0) * (2.0 * recipe.pad / recipe.size)
    across, upright = (1.0 - 2.0 * (drawn[row] < 0.5) for row in (3, 4))
    cos, sin = torch.cos(angle), torch.sin(angle)
    theta = torch.stack(
        [
            torch.stack([cos * across, -sin * upright, move[0]], 1),
            torch.stack([sin * across, cos * upright, move[1]], 1),
        ],
        1,
    )
    where = nn.functional.affine_grid(theta, [count, pixels.shape[1], recipe.size, recipe.size], align_corners=False)
    return nn.functional.grid_sample(pixels, where, padding_mode="zeros", align_corners=False)


def normalised(pixels: Tensor) -> Tensor:
    mean, std = (torch.tensor(values, device=pixels.device).view(3, 1, 1) for values in (MEAN, STD))
    return (pixels - mean) / std


def fine_tune(
    model: nn.Module,
    images: np.ndarray[Any, Any],
    labels: Tensor,
    seed: int,
    recipe: Recipe,
    device: str,
    say: Callable[[str], None] = print,
) -> nn.Module:
    """Train all of ``model`` by Adam on bytes (N, h, w, 3); the weights of the last epoch are kept, none is chosen."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device)
    labels = labels.to(device)
    model = model.to(device).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=recipe.step, weight_decay=recipe.decay)
    for epoch in range(recipe.epochs):
        total = 0.0
        for rows in torch.randperm(len(labels), generator=generator).split(recipe.batch):
            rows = rows.to(device)
            batch = normalised(varied(pixels[rows].float().div(255), recipe, generator))
            with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=device.startswith("cuda")):
                loss = nn.functional.cross_entropy(model(batch), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach()) * len(rows)
        say(f"  seed {seed}, epoch {epoch + 1} of {recipe.epochs}: loss {total / len(labels):.3f}")
    return model.eval()
