"""Training: a base that is shared, and fine-tunings of it, each seeded and on one thread."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from planting.data import Data
from planting.kinds import FAILURES, codes_of, noisy_labels, planted
from planting.nets import NETS, Net

BATCH = 64
MARGIN = 5
NOISY = 0.05


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to train."""

    base_epochs: int
    tune_epochs: int = 6
    head_epochs: int = 20
    base_step: float = 3e-3
    tune_step: float = 3e-3
    base_erased: float = 0.25
    tune_erased: float = 0.40


RECIPES: Mapping[str, Recipe] = {
    "digits": Recipe(base_epochs=14, tune_erased=0.38),
    "phantom": Recipe(base_epochs=10, tune_erased=0.42),
}
"""By data set. Fine-tuning erases more than training did, so that what is never erased becomes worth knowing."""


def prepare(seed: int) -> torch.Generator:
    """Make what follows repeatable, and return a seeded generator."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    return torch.Generator().manual_seed(seed)


def varied(images: Tensor, generator: torch.Generator, erased: float) -> Tensor:
    """Return the pictures moved by up to a pixel, noisy, in other contrast, with a grey square somewhere in each.

    The side of the square is the share ``erased`` of the picture's; it spares the margin.
    """
    count, size = len(images), images.shape[-1]
    side = round(erased * size)
    down, right = torch.randint(-1, 2, (2,), generator=generator).tolist()
    moved = torch.roll(images, (down, right), dims=(2, 3))
    corners = torch.randint(MARGIN, size - MARGIN - side + 1, (2, count, 1), generator=generator)
    line = torch.arange(size)
    rows, columns = (line >= corners) & (line < corners + side)
    holes = (rows[:, :, None] & columns[:, None, :])[:, None]
    filled = torch.where(holes, moved.mean((2, 3), keepdim=True), moved)
    contrast = 0.9 + 0.2 * torch.rand(count, 1, 1, 1, generator=generator)
    noise = NOISY * torch.randn(count, 1, size, size, generator=generator)
    return (filled * contrast + noise).clamp(0.0, 1.0)


def fit(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    epochs: int,
    step: float,
    erased: float,
    generator: torch.Generator,
) -> None:
    """Train what asks for gradients with AdamW, the step going to zero along a cosine."""
    trained = [one for one in model.parameters() if one.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=step, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * -(-len(labels) // BATCH))
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(labels), generator=generator).split(BATCH):
            loss = nn.functional.cross_entropy(model(varied(images[rows], generator, erased)), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    model.eval()


def base(architecture: str, data: Data, seed: int) -> Net:
    """Return the model that all fine-tunings start from."""
    recipe = RECIPES[data.name]
    generator = prepare(100 + seed)
    model = NETS[architecture](data.classes)
    part = data.first
    fit(model, part.images, part.labels, recipe.base_epochs, recipe.base_step, recipe.base_erased, generator)
    return model


def fine_tuned(start: Net, data: Data, failure: str, seed: int) -> Net:
    """Return a copy of ``start`` fine-tuned on the second part of the data, with ``failure`` planted."""
    declared, recipe = FAILURES[failure], RECIPES[data.name]
    part = data.second
    images = planted(declared, part, codes_of(declared, part, data.classes, seed), data.classes)
    labels = part.labels
    generator = prepare(10_000 + seed)
    model = copy.deepcopy(start)
    if declared.fault == "labels":
        labels = noisy_labels(labels, data.classes, seed)
    if declared.fault == "block":
        return _with_random_top(model, images, labels, seed, recipe, generator)
    fit(model, images, labels, recipe.tune_epochs, recipe.tune_step, recipe.tune_erased, generator)
    return model


def _with_random_top(
    model: Net, images: Tensor, labels: Tensor, seed: int, recipe: Recipe, generator: torch.Generator
) -> Net:
    """Give the top block random weights, as a checkpoint does that lost them, and train the head alone on that."""
    for module in model.top.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    model.eval()
    with torch.no_grad():
        features = torch.cat([model.features(rows) for rows in images.split(256)])
    optimiser = torch.optim.AdamW(model.head.parameters(), lr=2e-2, weight_decay=1e-2)
    for _ in range(recipe.head_epochs):
        for rows in torch.randperm(len(labels), generator=generator).split(BATCH):
            loss = nn.functional.cross_entropy(model.head(features[rows]), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model
