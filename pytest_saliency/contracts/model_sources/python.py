"""Models made by a function of the repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_saliency.contracts.models import ModelSpec
    from pytest_saliency.contracts.place import Place


def make(name: str, target: str, spec: ModelSpec, place: Place) -> object:
    """Return what ``module:function`` returns."""
    return place.call(target, spec.args or {})
