"""Cases that a function of the repository returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_saliency.contracts.models import CasesSpec
    from pytest_saliency.contracts.place import Place


def make(value: str, spec: CasesSpec, place: Place) -> object:
    """Return what it returns; the caller sees whether that is Cases."""
    return place.call(value, spec.args or {})
