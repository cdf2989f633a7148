"""What is measured of one architecture: its layer, every method on it, whether the patch is found, and in a wrapper."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pytest_saliency import Cases, Explained, Subject, explain
from pytest_saliency.engine.layers import choose
from pytest_saliency.errors import MethodError

from .drawing import drawn
from .planted import Planted, peaks_inside, places, planted, put, settle, teach, teach_cells, textures
from .registry import Architecture

GRADIENT = ("gradcam", "gradcam++", "hirescam", "xgradcam", "layercam", "case")
VARIANTS = ("case[elementwise]", "case[shared_only]")
PERTURBING = ("ablationcam", "scorecam[channels:4]", "scorecam[channels:4,reference-code]")
METHODS = (*GRADIENT, *VARIANTS, "eigencam", *PERTURBING)
FEW = 1  # images for the methods that run a model once a channel
NEW = 12


@dataclass
class Measured:
    """What was found. ``statuses`` and ``shapes`` by method, ``hits`` of ``images`` by method."""

    auto: str
    grid: tuple[int, ...]
    layout: str
    accuracy: float
    statuses: dict[str, set[str]] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    finite: dict[str, bool] = field(default_factory=dict)
    hits: dict[str, int] = field(default_factory=dict)
    images: int = 0
    cam: str = ""
    cam_is_gradcam: bool = False
    alternatives: dict[str, tuple[tuple[int, ...], set[str]]] = field(default_factory=dict)
    wrapped: bool = False


def measure(architecture: Architecture) -> Measured:
    """Build it, teach it the patch, and look at everything on new images."""
    new, labels = examination(architecture)
    model = drawn(architecture.build, architecture.lifted, architecture.around)
    true = choose(model, torch.from_numpy(new.images[:1]), "auto") if architecture.lighter else None
    if architecture.lighter:
        model = drawn(architecture.lighter, architecture.lifted, architecture.around)
    learn(model, architecture)
    found = explained(model, new.images, labels)
    info = found.layer
    said = true or info
    made = Measured(said.name, tuple(said.grid), said.layout.describe(), float(found.correct.mean()))
    made.images = len(labels)
    for method in (*GRADIENT, "eigencam"):
        made.hits[method] = int(peaks_inside(found.maps(method, "label").values.numpy(), new.boxes).sum())
        note(made, method, found)
    few = explained(model, new.images[:FEW], labels[:FEW], layer=info.name)
    for method in (*VARIANTS, *PERTURBING):
        note(made, method, few)
    try:
        cam = found.maps("cam", "label").values
        made.cam_is_gradcam = near(cam, found.maps("gradcam", "label").values * int(np.prod(info.grid)))
    except MethodError as error:
        made.cam = str(error)
    for layer, _ in architecture.alternatives:
        other = explained(model, new.images[:FEW], labels[:FEW], layer=layer)
        maps = other.maps("gradcam", "label")
        made.alternatives[layer] = (tuple(other.layer.grid), set(map(str, maps.status)))
    made.wrapped = in_wrappers(model, few, info.name)
    del model, found, few
    gc.collect()
    return made


def learn(model: nn.Module, architecture: Architecture) -> None:
    """Solve the head from images with a patch of each class at each place."""
    classes = 2 if architecture.head == "logit" else architecture.outputs
    where = places(architecture.places)
    pairs = [(c, place) for place in where for c in range(classes)]
    most = 60 if architecture.head == "labels" else 18 if architecture.pool else 36
    pairs = [pairs[i] for i in np.random.default_rng(7).permutation(len(pairs))[:most]]
    data = planted(architecture.shape, architecture.places, pairs, classes, seed=1)
    settle(model, torch.from_numpy(data.images[:12]))
    targets = np.eye(classes, dtype=np.float32)[data.labels]
    if architecture.head == "logit":
        targets = targets[:, 1:] - targets[:, :1]
    if architecture.pool:
        teach_cells(model, architecture.heads[0], architecture.pool, data, targets)
    else:
        teach(model, architecture.heads, data, targets)


def examination(architecture: Architecture) -> tuple[Planted, list[int]]:
    """Return new images; with labels, each twice: two patches, and the box and the label of one of them at a time."""
    classes = 2 if architecture.head == "logit" else architecture.outputs
    where = places(architecture.places)
    count = 8 if len(where) == 4 else NEW
    draw = np.random.default_rng(5)
    pairs = [(int(draw.integers(classes)), where[int(i)]) for i in draw.permutation(count) % len(where)]
    data = planted(architecture.shape, architecture.places, pairs, classes, seed=2)
    if architecture.head == "labels":
        known = textures(classes, architecture.shape)
        for i in range(0, count, 2):
            (_, mine), (other, theirs) = pairs[i], pairs[i + 1]
            if mine != theirs:
                put(data.images[i], known[other], theirs, architecture.places)
                data.images[i + 1] = data.images[i]
    return data, data.labels.tolist()


def explained(model: nn.Module, images: NDArray[np.float32], labels: list[int], layer: str = "auto") -> Explained:
    """Explain ``model`` on the CPU."""
    return explain(Subject(model, layer=layer), Cases.from_arrays(images, labels), device="cpu", batch_size=6)


def note(made: Measured, method: str, found: Explained) -> None:
    """Write down status, shape and finiteness of a method's maps for each image's label."""
    maps = found.maps(method, "label")
    made.statuses[method] = set(map(str, maps.status))
    made.shapes[method] = tuple(maps.values.shape[1:])
    made.finite[method] = bool(torch.isfinite(maps.values).all())


def in_wrappers(model: nn.Module, plain: Explained, layer: str) -> bool:
    """Tell whether the maps are the same from inside torch.compile around DataParallel, by the layer's name there."""
    wrapped: Any = torch.compile(nn.DataParallel(model))
    images = torch.stack([plain.pixels(i) for i in range(FEW)]).numpy()
    found = explained(wrapped, images, list(plain.cases.labels), layer=f"_orig_mod.module.{layer}")
    return found.layer.name == layer and near(
        found.maps("gradcam", "label").values, plain.maps("gradcam", "label").values
    )


def near(one: torch.Tensor, two: torch.Tensor) -> bool:
    """Tell whether two stacks of maps differ by rounding only."""
    return bool((one - two).abs().max() <= 1e-3 * max(float(two.abs().max()), 1e-12))
