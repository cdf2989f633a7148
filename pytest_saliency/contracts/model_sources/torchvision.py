"""Classifiers of torchvision by name, with weights from a file or with those that ship with it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from pytest_saliency.contracts.model_sources.made import Made
from pytest_saliency.contracts.shipped import hub_file
from pytest_saliency.contracts.shipped_preprocess import from_torchvision
from pytest_saliency.contracts.states import WeightsError
from pytest_saliency.errors import SubjectError, first_line

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pytest_saliency.contracts.models import ModelSpec
    from pytest_saliency.contracts.place import Place

INITIALISED = ("googlenet", "inception_v3")  # warn about a slow initialisation unless told not to do it
DENSE_LAYER = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)$")


def make(name: str, architecture: str, spec: ModelSpec, place: Place) -> Made:
    """Return the architecture and where its weights are; without weights its numbers would be random.

    Raises
    ------
    SubjectError
        No weights, no torchvision that works here, no such architecture or weights, or arguments that it does not take.
    """
    if spec.weights is None:
        raise SubjectError(
            f"model '{name}' has a torchvision architecture but no weights: its random weights would be others in"
            " every run. Add weights: <file>, weights: DEFAULT, or build the model in python: or fixture:."
        )
    models = _torchvision(name)
    known = models.list_models(module=models)
    if architecture not in known:
        close = difflib.get_close_matches(architecture.lower(), known, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else "; torchvision.models.list_models() names them."
        raise SubjectError(f"model '{name}': torchvision has no classifier '{architecture}'{hint}")
    there = models.get_model_weights(architecture)
    adapt = ("names of torchvision's first DenseNets", _dense_names) if architecture.startswith("densenet") else None
    if spec.shipped is None:
        if architecture in INITIALISED and "transform_input" not in (spec.args or {}):
            raise WeightsError(
                f"model '{name}': a file of weights does not tell whether {architecture} changes the scale of its input"
                " (transform_input): it does where training began with torchvision's weights, and does not where it"
                " began from nothing. Write args: {transform_input: true} or false."
            )
        ships = partial(_preprocess_of_any, name, architecture, there)
        return Made(_built(name, architecture, spec, {}), adapt=adapt, preprocess=ships)
    entry = _entry(name, architecture, there, spec.shipped)
    classes = len(entry.meta["categories"])
    if spec.num_classes not in (None, classes):
        raise WeightsError(
            f"model '{name}' has num_classes: {spec.num_classes}, but the weights {entry.name} of {architecture} are"
            f" for {classes}. Leave num_classes out, or give the file of weights that you trained."
        )
    return Made(
        _built(name, architecture, spec, _of_weights(architecture, entry, classes)),
        file=hub_file(entry.url, f"weights {entry.name} of model '{name}'", bool(spec.download)),
        words=f"weights {entry.name} ({entry.url})",
        adapt=adapt,
        finish=_without_auxiliary if architecture == "googlenet" and not (spec.args or {}).get("aux_logits") else None,
        preprocess=partial(from_torchvision, entry.transforms(), f"model '{name}'"),
    )


def _torchvision(name: str) -> Any:
    try:
        from torchvision import models
    except Exception as error:  # a torchvision that does not match torch raises RuntimeError, not ImportError
        import torch

        raise SubjectError(
            f"model '{name}' needs torchvision, which cannot be imported here ({first_line(error)}). Install the"
            f" torchvision that belongs to torch {torch.__version__}, or build the model in python: or fixture:."
        ) from error
    return models


def _built(name: str, architecture: str, spec: ModelSpec, of_weights: Mapping[str, Any]) -> nn.Module:
    arguments: dict[str, Any] = {**of_weights, **(spec.args or {})}
    if spec.num_classes is not None:
        arguments["num_classes"] = spec.num_classes
    if architecture in INITIALISED:
        arguments.setdefault("init_weights", False)
    try:
        made: nn.Module = _torchvision(name).get_model(architecture, weights=None, **arguments)
    except (TypeError, ValueError) as error:
        raise SubjectError(
            f"model '{name}': torchvision does not build {architecture} from {arguments}: {error}."
        ) from error
    return made


def _entry(name: str, architecture: str, there: Any, wanted: str) -> Any:
    if wanted in there.__members__:
        return there[wanted]
    known = ", ".join(["DEFAULT", *(entry.name for entry in there)] if len(there) else ["none"])
    raise WeightsError(
        f"model '{name}': torchvision ships no weights '{wanted}' for {architecture}; it has {known}. A file whose name"
        f" has no ending is written './{wanted}'."
    )


def _of_weights(architecture: str, entry: Any, classes: int) -> dict[str, Any]:
    """Return the arguments that torchvision's own builder takes from the weights."""
    made: dict[str, Any] = {"num_classes": classes}
    if architecture in INITIALISED:
        made |= {"transform_input": True, "aux_logits": True}
    if architecture.startswith("vit_"):
        made["image_size"] = entry.meta["min_size"][0]
    if architecture.startswith("maxvit"):
        made["input_size"] = entry.meta["min_size"]
    return made


def _without_auxiliary(model: Any) -> None:
    """Drop the auxiliary heads of GoogLeNet, which its weights hold although they were never trained."""
    model.aux_logits, model.aux1, model.aux2 = False, None, None


def _dense_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of a DenseNet with the names that its modules have now (``norm.1`` is ``norm1``)."""
    return {DENSE_LAYER.sub(r"\1\2", key): value for key, value in state.items()}


def _preprocess_of_any(name: str, architecture: str, there: Any) -> Mapping[str, Any]:
    """Return what all weights of an architecture agree on: which of them a file was trained from is not known."""
    found = {entry.name: from_torchvision(entry.transforms(), f"model '{name}'") for entry in there}
    made = list(found.values())
    if not made or any(one != made[0] for one in made):
        differ = "; ".join(f"{key}: {_flow(value)}" for key, value in found.items()) or "none"
        raise SubjectError(
            f"model '{name}' says 'preprocess: weights' beside a file of weights, which does not tell with which of"
            f" torchvision's own it began; write one out ({differ})."
        )
    return made[0]


def _flow(mapping: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in mapping.items() if key not in ("mean", "std")) + ", ...}"
