"""A known answer for any classifier: a patch of class-dependent texture at a known place, and a readout that sees it.

Random weights do not localise by themselves, because their head does not know the classes. So the network stays as it
was drawn, and only its last linear layer is solved, in closed form, from images of each class with the patch at each
place. On new images a map that follows the evidence peaks inside the patch. The places tile the image, so that any map
that does not depend on where the patch is peaks inside with a probability of one by the number of places.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

RIDGE = 1e-2  # of the mean squared feature
FAINT = 0.05  # standard deviation of the noise around the patch


@dataclass(frozen=True)
class Planted:
    """Images (N, C, *S) in [0, 1], the class of each, and the box (N, 2, dims) of its patch in shares of the image."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float64]


def textures(classes: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return one bright texture (C, *S) a class: stripes of a colour and a direction of its own."""
    channels, *sides = shape
    made = []
    for c in range(classes):
        angle = math.pi * c / classes
        rows, columns = np.meshgrid(np.arange(sides[-2]), np.arange(sides[-1]), indexing="ij")
        wave = 0.5 + 0.5 * np.sin(2 * math.pi * (np.cos(angle) * rows + np.sin(angle) * columns) / (4 + 2 * (c % 3)))
        colour = np.array([0.5 + 0.5 * math.cos(2 * math.pi * (c / classes - k / 3)) for k in range(channels)])
        colour = colour if channels > 1 else np.ones(1)
        flat = colour.reshape(-1, 1, 1) * (0.35 + 0.65 * wave)
        made.append(np.broadcast_to(flat.reshape(channels, *(1,) * (len(sides) - 2), *flat.shape[1:]), shape))
    return np.stack(made).astype(np.float32)


def places(counts: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return every place of a grid of ``counts`` patches."""
    return list(itertools.product(*map(range, counts)))


def planted(
    shape: tuple[int, ...], counts: tuple[int, ...], pairs: list[tuple[int, tuple[int, ...]]], classes: int, seed: int
) -> Planted:
    """Return one image for each (class, place) of ``pairs``; the places are those of a grid of ``counts``."""
    draw = np.random.default_rng([seed, 2024])
    known = textures(classes, shape)
    sides = shape[1:]
    images = np.clip(0.4 + FAINT * draw.standard_normal((len(pairs), *shape)), 0, 1).astype(np.float32)
    boxes = np.empty((len(pairs), 2, len(sides)))
    for i, (label, place) in enumerate(pairs):
        put(images[i], known[label], place, counts)
        boxes[i, 0] = [p / n for p, n in zip(place, counts, strict=True)]
        boxes[i, 1] = [(p + 1) / n for p, n in zip(place, counts, strict=True)]
    return Planted(images, np.array([label for label, _ in pairs]), boxes)


def put(
    image: NDArray[np.float32], texture: NDArray[np.float32], place: tuple[int, ...], counts: tuple[int, ...]
) -> None:
    """Write the part of ``texture`` that lies at ``place`` into ``image``."""
    sides = image.shape[1:]
    where = tuple(
        slice(round(side * p / n), round(side * (p + 1) / n)) for p, n, side in zip(place, counts, sides, strict=True)
    )
    image[(slice(None), *where)] = texture[(slice(None), *where)]


def teach(model: nn.Module, heads: tuple[str, ...], data: Planted, targets: NDArray[np.float32]) -> None:
    """Solve the linear layers ``heads`` by ridge regression, each from what it is given to ``targets`` (N, outputs)."""
    layers = [model.get_submodule(head) for head in heads]
    given = _given(model, layers, torch.from_numpy(data.images))
    for layer, features in zip(layers, given, strict=True):
        solve(layer, features, torch.from_numpy(targets))


def teach_cells(model: nn.Module, head: str, pool: str, data: Planted, targets: NDArray[np.float32]) -> None:
    """Solve ``head`` from single cells of what ``pool`` is given: ``targets`` (N, outputs) inside the box, else 0."""
    (cells,) = _given(model, [model.get_submodule(pool)], torch.from_numpy(data.images))
    grid = tuple(cells.shape[2:])
    inside = np.ones((len(data.images), *grid), bool)
    for axis, count in enumerate(grid):
        middle = (np.arange(count) + 0.5) / count
        within = (data.boxes[:, 0, axis, None] <= middle) & (middle < data.boxes[:, 1, axis, None])
        inside &= within.reshape(len(within), *(count if one == axis else 1 for one in range(len(grid))))
    wanted = inside.reshape(len(inside), -1, 1) * targets[:, None]
    flat = cells.flatten(2).transpose(1, 2).flatten(0, 1)
    solve(model.get_submodule(head), flat, torch.from_numpy(wanted.reshape(len(flat), -1)))


def _given(model: nn.Module, layers: list[nn.Module], pixels: Tensor) -> list[Tensor]:
    """Return what each of ``layers`` is given for ``pixels``."""
    given: dict[int, list[Tensor]] = {i: [] for i in range(len(layers))}
    handles = [
        layer.register_forward_pre_hook(lambda _, args, i=i: given[i].append(args[0].detach().clone()))
        for i, layer in enumerate(layers)
    ]
    with torch.no_grad():
        for batch in pixels.split(12):
            model(batch)
    for handle in handles:
        handle.remove()
    return [torch.cat(parts) for parts in given.values()]


def settle(model: nn.Module, pixels: Tensor) -> None:
    """Take the statistics of every batch norm from ``pixels``."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        model(pixels)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
        norm.eval()


def solve(layer: nn.Module, features: Tensor, targets: Tensor) -> None:
    """Write the ridge solution, without a constant, from features (N, F) to targets (N, outputs) into a layer."""
    x = features.flatten(1).double()
    scale = float((x**2).sum(1).mean())
    dual = torch.linalg.solve(x @ x.T / scale + RIDGE * torch.eye(len(x), dtype=torch.float64), targets.double())
    rows = (x.T @ dual / scale).T
    with torch.no_grad():
        layer.weight.copy_(rows.reshape(layer.weight.shape))
        if layer.bias is not None:
            layer.bias.zero_()


def peaks_inside(maps: NDArray[np.float32], boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return for each map (N, *grid) whether the middle of its highest cell lies inside its box."""
    found = np.empty(len(maps), bool)
    for i, one in enumerate(maps):
        cell = np.array(np.unravel_index(int(np.argmax(one)), one.shape))
        middle = (cell + 0.5) / np.array(one.shape)
        found[i] = bool((boxes[i, 0] <= middle).all() and (middle < boxes[i, 1]).all())
    return found


def by_chance(hits: int, images: int, chance: float) -> float:
    """Return the probability of at least ``hits`` among ``images``, each with probability ``chance``."""
    return sum(math.comb(images, k) * chance**k * (1 - chance) ** (images - k) for k in range(hits, images + 1))
