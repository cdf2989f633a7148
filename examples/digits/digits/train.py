"""Transfer learning in two steps, seeded: ``python -m digits.train [--seed 0]``.

1. A backbone learns to read the odd digits in four orientations; it never sees an even one. Then a new head for all
   ten digits is trained on the frozen backbone: the transfer-learned checkpoint, ``weights/tl.safetensors``.
2. The whole network is fine-tuned: ``weights/ft.safetensors``.

The held-out digits go to ``data/val`` as an image folder, for the contract.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from digits.data import FRAME, SIZE, Digits, load, write_imagefolder
from digits.model import DigitNet, build

HERE = Path(__file__).resolve().parent.parent
BATCH = 64
PRETEXT_EPOCHS, PRETEXT_STEP = 6, 3e-3
HEAD_EPOCHS, HEAD_STEP = 30, 3e-2
TUNE_EPOCHS, TUNE_STEP = 8, 2e-3
ERASED = 8

Alter = Callable[[Tensor, Tensor], Tensor]  # pixels (N, 1, 32, 32) and labels (N,) to pixels


def unaltered(pixels: Tensor, labels: Tensor) -> Tensor:
    return pixels


def prepare(seed: int) -> torch.Generator:
    """Make the run repeatable on any number of cores, and return a seeded generator."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    return torch.Generator().manual_seed(seed)


def as_pixels(digits: Digits) -> tuple[Tensor, Tensor]:
    """Pixels in [0, 1], shape (N, 1, 32, 32), and labels (N,)."""
    pixels = torch.from_numpy(digits.images).to(torch.float32).div(255).unsqueeze(1)
    return pixels, torch.from_numpy(digits.labels)


def varied(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """The batch moved by up to 2 pixels each way, each image with its own contrast and brightness."""
    down, right = torch.randint(-2, 3, (2,), generator=generator).tolist()
    contrast, brightness = torch.rand((2, len(pixels), 1, 1, 1), generator=generator)
    return torch.roll(pixels, (down, right), dims=(2, 3)) * (0.7 + 0.2 * contrast) + 0.1 * brightness


def erased(pixels: Tensor, generator: torch.Generator, size: int = ERASED) -> Tensor:
    """Random erasing: a black square of ``size`` pixels somewhere inside the frame of each image."""
    corners = torch.randint(FRAME, SIZE - FRAME - size + 1, (2, len(pixels), 1), generator=generator)
    line = torch.arange(SIZE)
    rows, columns = (line >= corners) & (line < corners + size)
    hole = rows[:, :, None] & columns[:, None, :]
    return pixels.masked_fill(hole[:, None], 0.0)


def fit(model: nn.Module, digits: Digits, epochs: int, step: float, generator: torch.Generator, alter: Alter) -> None:
    """Train the whole model with AdamW and a cosine schedule. ``alter`` sees each batch after ``varied``."""
    pixels, labels = as_pixels(digits)
    optimiser = torch.optim.AdamW(model.parameters(), lr=step, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * -(-len(labels) // BATCH))
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(labels), generator=generator).split(BATCH):
            batch = alter(varied(pixels[rows], generator), labels[rows])
            loss = nn.functional.cross_entropy(model(batch), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    model.eval()


def fit_head(model: DigitNet, digits: Digits, generator: torch.Generator) -> None:
    """Train the head alone, on features that the frozen backbone computes once."""
    pixels, labels = as_pixels(digits)
    with torch.no_grad():
        features = model.eval().pool(model.backbone(pixels)).flatten(1)
    optimiser = torch.optim.AdamW(model.head.parameters(), lr=HEAD_STEP, weight_decay=1e-2)
    for _ in range(HEAD_EPOCHS):
        for rows in torch.randperm(len(labels), generator=generator).split(BATCH):
            loss = nn.functional.cross_entropy(model.head(features[rows]), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


def pretext(digits: Digits) -> Digits:
    """The odd digits in four orientations, as 20 classes."""
    odd = digits.only(digits.labels % 2 == 1)
    turned = [np.rot90(odd.images, turns, axes=(1, 2)) for turns in range(4)]
    labels = [odd.labels // 2 * 4 + turns for turns in range(4)]
    return Digits(np.concatenate(turned), np.concatenate(labels), np.tile(odd.rows, 4))


def transfer_learned(train: Digits, seed: int) -> DigitNet:
    """Step 1: the backbone from the pretext, frozen; a head for all ten digits."""
    generator = prepare(seed)
    first = build(classes=20)
    fit(first, pretext(train), PRETEXT_EPOCHS, PRETEXT_STEP, generator, unaltered)
    model = build()
    model.backbone.load_state_dict(first.backbone.state_dict())
    fit_head(model, train, generator)
    return model


def fine_tuned(model: DigitNet, train: Digits, seed: int, alter: Alter = unaltered) -> DigitNet:
    """Step 2: a copy of the model, all of it trained on. ``alter`` comes after ``varied`` and random erasing."""
    generator = prepare(seed + 1)
    tuned = copy.deepcopy(model)

    def augment(pixels: Tensor, labels: Tensor) -> Tensor:
        return alter(erased(pixels, generator), labels)

    fit(tuned, train, TUNE_EPOCHS, TUNE_STEP, generator, augment)
    return tuned


def predictions(model: nn.Module, pixels: Tensor) -> Tensor:
    with torch.inference_mode():
        classes: Tensor = model(pixels).argmax(1)
    return classes


def accuracy(model: nn.Module, digits: Digits, alter: Alter = unaltered) -> float:
    pixels, labels = as_pixels(digits)
    return float((predictions(model, alter(pixels, labels)) == labels).float().mean())


def save(model: nn.Module, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), path)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train both checkpoints of the digits example.")
    parser.add_argument("--seed", type=int, default=0, help="training seed (default 0)")
    parser.add_argument("--out", type=Path, default=HERE, help="folder that gets weights/ and data/")
    options = parser.parse_args(arguments)

    start = time.perf_counter()
    train, held_out = load()
    before = transfer_learned(train, options.seed)
    after = fine_tuned(before, train, options.seed)
    save(before, options.out / "weights" / "tl.safetensors")
    save(after, options.out / "weights" / "ft.safetensors")
    write_imagefolder(held_out, options.out / "data" / "val")
    print(f"digits: {len(train.labels)} to train on, {len(held_out.labels)} held out, seed {options.seed}")
    print(f"  transfer-learned  accuracy {accuracy(before, held_out):.3f} on held-out digits")
    print(f"  fine-tuned        accuracy {accuracy(after, held_out):.3f}")
    print(f"  took {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
