"""The table of ``pytest-saliency layers``: which layers of a model maps can be read from."""

from __future__ import annotations

import difflib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pytest_saliency.errors import SaliencyError, SubjectError

if TYPE_CHECKING:
    from torch import nn

CHOICES = ("auto", "penultimate")
SOURCES = ("timm", "huggingface", "exported")
"""Sources of a contract that are named as in one; their weights do not matter here."""


def layer_table(model: str, size: tuple[int, ...], num_classes: int | None, reshape: Any, last: int) -> str:
    """Return the table for ``model`` and one image (C, *S).

    ``model`` is a torchvision name, ``timm:NAME``, ``huggingface:FOLDER``, ``exported:FILE`` or ``module:attribute``.

    ``last`` layers are shown, all where it is 0; chosen ones are always shown.

    Raises
    ------
    SubjectError
        The model cannot be built or run, or none of its layers has a spatial grid.
    """
    import torch

    from pytest_saliency.engine import layers

    model = model.removeprefix("python:").removeprefix("torchvision:")  # as a contract names it
    source, colon, value = model.partition(":")
    if colon and source != "timm" and num_classes is not None:
        raise SubjectError(
            "--num-classes is for torchvision architectures and those of timm; your own code sets its own outputs."
        )
    if not colon:
        module = _architecture(model, num_classes)
    else:
        module = _of_source(source, value, num_classes) if source in SOURCES else _own_module(model)
    example = torch.rand(2, *size, generator=torch.Generator().manual_seed(0))
    spelled = "x".join(map(str, size))
    try:
        found = layers.candidates(module, example, reshape)
    except SaliencyError:
        raise
    except Exception as error:  # the user's module may raise anything
        raise SubjectError(
            f"model {model} failed on an input of {spelled}: {_first_line(error)}. --input gives another"
            " size, as 1x28x28 for small grey images."
        ) from None
    if not found:
        raise SubjectError(f"model {model} has no layer with a spatial grid larger than 1x1 at input {spelled}.")
    chosen: dict[str, list[str]] = {}
    notes = []
    for choice in CHOICES:
        try:
            chosen.setdefault(layers.choose(module, example, choice, reshape).name, []).append(choice)
        except SaliencyError as error:
            notes.append(f"{choice}: {str(error).split('. ')[0].removesuffix('.')}.")
    first = len(found) - last if last else 0
    rows: list[tuple[str, ...]] = [("layer", "type", "output", "grid", "")]
    for position, info in enumerate(found):
        if position >= first or info.name in chosen:
            mark = "<- " + ", ".join(chosen[info.name]) if info.name in chosen else ""
            rows.append((info.name, info.kind, _times(info.shape), _times(info.grid), mark))
    left_out = len(found) - len(rows) + 1
    head = [f"{model}, input {spelled}, {len(found)} layers with a grid"]
    if left_out:
        head.append(f"({left_out} earlier ones are not shown; --last 0 shows all)")
    return "\n".join([*head, *_aligned(rows), *notes])


def _architecture(name: str, num_classes: int | None) -> nn.Module:
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:
        raise SubjectError(
            f"torchvision cannot be imported ({_first_line(error)}); install the torchvision that fits your torch."
        ) from None
    known = models.list_models(module=models)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else "give a name such as resnet50, or module:attribute."
        raise SubjectError(f"torchvision has no classification architecture '{name}'; {hint}")
    keywords: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if name in ("googlenet", "inception_v3"):
        keywords["init_weights"] = False  # scipy's truncated normal takes half a minute, and values do not matter
    module: nn.Module = models.get_model(name, weights=None, **keywords)
    _fill_zero_weights(module)
    return module


def _of_source(source: str, value: str, num_classes: int | None) -> nn.Module:
    """Return what a contract would make of ``source: value``; of timm the architecture without its weights."""
    from pydantic import ValidationError

    from pytest_saliency.contracts.model_sources import make_model
    from pytest_saliency.contracts.models import ModelSpec
    from pytest_saliency.contracts.place import Place

    declared: dict[str, Any] = {source: value}
    if source == "timm":
        declared |= {"weights": "not.loaded"} | ({} if num_classes is None else {"num_classes": num_classes})
    try:
        spec = ModelSpec.model_validate(declared)
    except ValidationError as error:
        raise SubjectError(f"{source}:{value}: '{source}' {error.errors()[0]['msg']}.") from None
    here = Path.cwd()
    made: Any = make_model(f"{source}:{value}", spec, Place(here, here, False, {})).model
    _fill_zero_weights(made)
    return cast("nn.Module", made)


def _fill_zero_weights(module: nn.Module) -> None:
    """Give weights that start as zeros (the head of torchvision's ViT) some values.

    Scores that are zero for every input depend on no layer, and ``auto`` looks for the last one they depend on.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.dim() > 1 and not weight.any():
                weight.normal_(std=0.02, generator=generator)


def _own_module(reference: str) -> nn.Module:
    from torch import nn

    where, _, attribute = reference.partition(":")
    try:
        made: Any = import_module(where)
        for part in attribute.split("."):
            made = getattr(made, part)
        if not isinstance(made, nn.Module) and callable(made):
            made = made()
    except Exception as error:  # the user's code may raise anything
        raise SubjectError(f"{reference} cannot be built: {type(error).__name__}: {_first_line(error)}") from None
    if not isinstance(made, nn.Module):
        raise SubjectError(f"{reference} gives a {type(made).__name__}, not a torch.nn.Module.")
    return made


def _times(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
