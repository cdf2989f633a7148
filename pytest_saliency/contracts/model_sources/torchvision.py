"""Classifiers of torchvision by name, with weights from a file."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from pytest_saliency.errors import SubjectError

if TYPE_CHECKING:
    from torch import nn

    from pytest_saliency.contracts.models import ModelSpec
    from pytest_saliency.contracts.place import Place

INITIALISED = ("googlenet", "inception_v3")  # warn about a slow initialisation unless told not to do it


def make(name: str, architecture: str, spec: ModelSpec, place: Place) -> nn.Module:
    """Return the architecture; without weights its numbers would be random.

    Raises
    ------
    SubjectError
        No weights, no torchvision that works here, no such architecture, or arguments that it does not take.
    """
    if spec.weights is None:
        raise SubjectError(
            f"model '{name}' has a torchvision architecture but no weights: its random weights would be others in"
            " every run. Add weights: <file>, or build the model in python: or fixture:."
        )
    return _built(name, architecture, spec)


def _built(name: str, architecture: str, spec: ModelSpec) -> nn.Module:
    try:
        from torchvision import models
    except Exception as error:  # a torchvision that does not match torch raises RuntimeError, not ImportError
        import torch

        raise SubjectError(
            f"model '{name}' needs torchvision, which cannot be imported here ({error}). Install the torchvision that"
            f" belongs to torch {torch.__version__}, or build the model in python: or fixture:."
        ) from error
    known = models.list_models(module=models)
    if architecture not in known:
        close = difflib.get_close_matches(architecture.lower(), known, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else "; torchvision.models.list_models() names them."
        raise SubjectError(f"model '{name}': torchvision has no classifier '{architecture}'{hint}")
    arguments: dict[str, Any] = dict(spec.args or {})
    if spec.num_classes is not None:
        arguments["num_classes"] = spec.num_classes
    if architecture in INITIALISED:
        arguments.setdefault("init_weights", False)
    try:
        made: nn.Module = models.get_model(architecture, weights=None, **arguments)
    except (TypeError, ValueError) as error:
        raise SubjectError(
            f"model '{name}': torchvision does not build {architecture} from {arguments}: {error}."
        ) from error
    return made
