"""Images in a folder a class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_saliency.contracts.case_sources.files import as_declared, file_reading

if TYPE_CHECKING:
    from pytest_saliency.contracts.models import CasesSpec
    from pytest_saliency.contracts.place import Place
    from pytest_saliency.engine.cases import Cases


def make(value: str, spec: CasesSpec, place: Place) -> Cases:
    """Return the images below the folder, with masks from another one if the contract names it."""
    from pytest_saliency.engine.cases import Cases

    masks = None if spec.masks is None else place.path(spec.masks)
    made = Cases.from_imagefolder(place.path(value), classes=spec.classes, masks=masks, read_as=file_reading(spec))
    return as_declared(made, spec)
