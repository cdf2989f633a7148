"""Where models of a contract come from: one file a source, found by the name that the contract uses.

Each file has ``make(name, value, spec, place)``, which returns a ``Made``, or the module or whole ``Subject`` alone;
``name`` is the model's name in errors, ``value`` what stands behind the source's key. A file of weights is loaded
afterwards, if the contract or the ``Made`` gives one. A new source is a file here, a key of ``ModelSpec``, and its name
in ``models.MODEL_SOURCES``.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING

from pytest_saliency.contracts.model_sources.made import Made

if TYPE_CHECKING:
    from pytest_saliency.contracts.models import ModelSpec
    from pytest_saliency.contracts.place import Place


def make_model(name: str, spec: ModelSpec, place: Place) -> Made:
    """Return what the source of ``spec`` makes; imported here, because few contracts use many."""
    kind, value = spec.source
    made: object = import_module(f"{__name__}.{kind}").make(name, value, spec, place)
    whole = made if isinstance(made, Made) else Made(made)
    if whole.file is None and spec.weights is not None and spec.shipped is None:
        whole = replace(whole, file=place.path(spec.weights), words=f"weights {spec.weights}")
    return whole
