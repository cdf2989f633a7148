"""Where models of a contract come from: one file a source, found by the name that the contract uses.

Each file has ``make(name, value, spec, place)``, which returns the module or a whole ``Subject``; ``name`` is the
model's name in errors, ``value`` what stands behind the source's key. Weights are loaded into it afterwards, if the
contract gives any. A new source is a file here, a key of ``ModelSpec``, and its name in
``models.MODEL_SOURCES``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_saliency.contracts.models import ModelSpec
    from pytest_saliency.contracts.place import Place


def make_model(name: str, spec: ModelSpec, place: Place) -> object:
    """Return what the source of ``spec`` makes, without ``weights``; imported here, because few contracts use many."""
    kind, value = spec.source
    made: object = import_module(f"{__name__}.{kind}").make(name, value, spec, place)
    return made
