"""Models of timm by name, with weights from a file or with those that ship with a tag."""

from __future__ import annotations

import difflib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_saliency.contracts.model_sources.made import Made, needs
from pytest_saliency.contracts.shipped import hub_file, huggingface_file
from pytest_saliency.contracts.shipped_preprocess import from_timm
from pytest_saliency.contracts.states import WeightsError
from pytest_saliency.errors import SubjectError, first_line

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pytest_saliency.contracts.models import ModelSpec
    from pytest_saliency.contracts.place import Place

FILES = ("model.safetensors", "pytorch_model.bin")
DEFAULT = "DEFAULT"


def make(name: str, architecture: str, spec: ModelSpec, place: Place) -> Made:
    """Return the architecture and where its weights are; without weights its numbers would be random.

    Raises
    ------
    SubjectError
        No weights, no timm, no such model, tag or arguments.
    """
    if spec.weights is None:
        raise SubjectError(
            f"model '{name}' has a timm architecture but no weights: its random weights would be others in every run."
            " Add weights: <file>, weights: DEFAULT, or build the model in python: or fixture:."
        )
    timm = _timm(name)
    base = architecture.partition(".")[0]
    if not timm.is_model(base):
        close = difflib.get_close_matches(base.lower(), timm.list_models(), n=1)
        hint = f"; did you mean '{close[0]}'?" if close else "; timm.list_models() names them."
        raise SubjectError(f"model '{name}': timm has no model '{base}'{hint}")
    full = _tagged(name, timm, architecture, spec.shipped)
    configured = timm.get_pretrained_cfg(full)
    build = partial(_built, name, timm, full, spec)
    model = build()
    # where channels are not three, timm's loader replaces a first layer that it cannot convert by random numbers
    usual = (spec.args or {}).get("in_chans", 3) == 3
    adapt = ("keys as timm reads them", partial(_as_timm_reads, build)) if usual else None
    ships = partial(from_timm, model, f"model '{name}'", (spec.args or {}).get("in_chans"))
    if spec.shipped is None:
        return Made(model, adapt=adapt, preprocess=ships)
    if spec.num_classes not in (None, configured.num_classes):
        raise WeightsError(
            f"model '{name}' has num_classes: {spec.num_classes}, but the weights {full} are for"
            f" {configured.num_classes}. Leave num_classes out, or give the file of weights that you trained."
        )
    file, where = _file(name, full, configured, bool(spec.download))
    return Made(model, file=file, words=f"weights {full} ({where})", adapt=adapt, preprocess=ships)


def _timm(name: str) -> Any:
    try:
        import timm
    except Exception as error:
        raise needs("timm", "timm", name, error) from error
    return timm


def _tagged(name: str, timm: Any, architecture: str, wanted: str | None) -> str:
    """Return the model's name with the tag that the contract means, if the model has tags."""
    base, _, tag = architecture.partition(".")
    tags = [one.partition(".")[2] for one in timm.list_models(f"{base}.*", pretrained=True)]
    if wanted not in (None, DEFAULT):
        if tag and tag != wanted:
            raise WeightsError(
                f"model '{name}' is {architecture}, but its weights are '{wanted}'; name one tag, in one of the two."
            )
        tag = str(wanted)
    if tag and tag not in tags:
        close = difflib.get_close_matches(tag, tags, n=1)
        hint = f"did you mean '{close[0]}'? It has" if close else "it has"
        raise WeightsError(
            f"model '{name}': timm ships no weights '{tag}' for {base}; {hint} {', '.join(tags) or 'none'}. A file"
            " whose name has no ending is written with './' in front."
        )
    if not tag and wanted is not None:
        configured = timm.get_pretrained_cfg(base)
        if configured is None or not configured.has_weights:
            raise WeightsError(f"model '{name}': timm ships no weights for {base}; give a file under 'weights'.")
        tag = configured.tag or ""
    return f"{base}.{tag}" if tag else base


def _built(name: str, timm: Any, full: str, spec: ModelSpec, **further: Any) -> nn.Module:
    arguments = dict(spec.args or {})
    if spec.num_classes is not None:
        arguments["num_classes"] = spec.num_classes
    refused = sorted({"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path"} & arguments.keys())
    if refused:
        raise SubjectError(
            f"model '{name}' has '{refused[0]}' in 'args'; where weights come from is said by 'weights' and 'download'."
        )
    try:
        made: nn.Module = timm.create_model(full, **{"pretrained": False, **arguments, **further})
    except Exception as error:  # whatever the architecture's own code raises
        raise SubjectError(
            f"model '{name}': timm does not build {full} from {arguments or 'no args'}: {first_line(error)}."
        ) from error
    return made


def _as_timm_reads(build: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state as timm's own loader makes it of a file in an older layout; as it is where timm refuses it."""
    plain = build()
    overlay = {"state_dict": state, "num_classes": plain.num_classes}
    try:
        made: nn.Module = build(pretrained=True, pretrained_cfg_overlay=overlay)
    except SubjectError:
        return state
    return dict(made.state_dict())


def _file(name: str, full: str, configured: Any, download: bool) -> tuple[Path, str]:
    what = f"weights {full} of model '{name}'"
    if configured.hf_hub_id:
        names = (configured.hf_hub_filename,) if configured.hf_hub_filename else FILES
        return huggingface_file(configured.hf_hub_id, names, what, download), f"huggingface.co/{configured.hf_hub_id}"
    if configured.url and not configured.custom_load:
        return hub_file(configured.url, what, download), configured.url
    raise WeightsError(
        f"{what} are in a format of their own, which only timm's loader reads; make the model in python: with"
        " timm.create_model(..., pretrained=True), or save its state_dict() once and give that file."
    )
