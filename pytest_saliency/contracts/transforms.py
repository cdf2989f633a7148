"""Preprocessing that a contract names by import path: ``preprocess: {python: module:function}``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_saliency.contracts.models import Preprocess as Declared
    from pytest_saliency.contracts.place import Place
    from pytest_saliency.engine.preprocess import Preprocess


def declared_preprocess(spec: Declared, place: Place) -> Mapping[str, Any] | Preprocess:
    """Return what ``spec`` says: the mapping, or what the code that it names does to pixels.

    Raises
    ------
    SaliencyError
        The code is not there or not to be imported, or what it gives is random, changes the size late, or fails.
    """
    if spec.python is None:
        return spec.model_dump(exclude_none=True)
    from pytest_saliency.engine.transforms import of_transform

    found = place.find(spec.python)
    ready = spec.args is None and _takes_pixels(found)
    value = found if ready else place.call(spec.python, spec.args or {})
    made = of_transform(value, f"preprocess {spec.python}", spec.channels)
    if made.named is None or not spec.args:
        return made
    said = ", ".join(f"{key}={value!r}" for key, value in sorted(spec.args.items()))
    return replace(made, named=f"{made.named}({said})")


def _takes_pixels(found: Any) -> bool:
    """Tell whether something is a transform itself: it needs an argument, where what makes one needs none."""
    if type(found).__module__.startswith("torchvision."):
        return True
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return False
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [one for one in parameters if one.kind in plain and one.default is inspect.Parameter.empty]
    return bool(needed) or (not inspect.isroutine(found) and not inspect.isclass(found))
