"""Networks of torchvision with the weights that ship with it, from torch's cache; fetched only when asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from case_paper.cifar import Recipe, fine_tune, read
from case_paper.sampling import DataError

SHIPPED = dict.fromkeys(("convnext_large", "densenet201", "resnet50", "vgg19_bn"), "IMAGENET1K_V1")
"""The architectures of the contract for ImageNet and their weights."""
CLASSES = 100


def fetched(architecture: str, *, download: bool) -> Path:
    """Return the file of an architecture's weights in torch's cache.

    Raises
    ------
    DataError
        It is not there and ``download`` is false, or it could not be fetched.
    """
    entry: Any = _entry(architecture)
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(entry.url).name
    if not path.exists():
        if not download:
            raise DataError(f"{path} is not there; say --download, or put {entry.url} in its place.")
        try:
            entry.get_state_dict(progress=True, check_hash=True)
        except (OSError, RuntimeError) as error:  # no network, a full disk; another hash than torchvision's
            raise DataError(f"{entry.url} could not be fetched ({error}); put the file at {path} by hand.") from error
    return path


def _entry(architecture: str) -> Any:
    from torchvision.models import get_model_weights

    return get_model_weights(architecture)[SHIPPED[architecture]]


def tuned_on_cifar(
    folder: Path,
    weights: Path,
    seed: int,
    recipe: Recipe,
    device: str,
    *,
    download: bool = False,
    say: Callable[[str], None] = print,
) -> Path:
    """Fine-tune DenseNet-201 on CIFAR-100 and return the file of its weights; one that is there is left as it is.

    Raises
    ------
    DataError
        The file that is there was trained by another recipe, or something that is needed is not there.
    """
    from safetensors.torch import save_file
    from torchvision.models import get_model

    path = weights / f"densenet201-cifar100-{seed}.safetensors"
    told = {"recipe": json.dumps(asdict(recipe), sort_keys=True)}
    if path.exists():
        _check_recipe(path, told["recipe"])
        say(f"  seed {seed}: {path.name} is there, and is used")
        return path
    fetched("densenet201", download=download)
    data = read(folder, train=True, download=download)
    torch.manual_seed(seed)
    model: Any = get_model("densenet201", weights=_entry("densenet201"))
    model.classifier = nn.Linear(model.classifier.in_features, CLASSES)
    fine_tune(model, data.data, torch.as_tensor(data.targets), seed, recipe, device, say)
    weights.mkdir(exist_ok=True)
    beside = path.with_suffix(".part")
    save_file({name: value.cpu().contiguous() for name, value in model.state_dict().items()}, beside, told)
    beside.replace(path)
    return path


def _check_recipe(path: Path, wanted: str) -> None:
    """Raise a DataError where the weights at ``path`` were trained by another recipe than ``wanted``."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            found = (file.metadata() or {}).get("recipe", "one that the file does not tell")
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} cannot be read ({error}); delete it, and it is trained again.") from error
    if found != wanted:
        raise DataError(
            f"{path} was trained by another recipe, {found}, than this run's, {wanted}; give the same --epochs and"
            " --batch again, or delete the file, and it is trained anew."
        )
