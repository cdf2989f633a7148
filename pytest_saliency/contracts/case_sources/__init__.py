"""Where images of a contract come from: one file a source, found by the name that the contract uses.

Each file has ``make(value, spec, place)``, which returns ``Cases``; ``value`` is what stands behind the source's key. A
new source is a file here, a key of ``CasesSpec``, and its name in ``models.CASES_SOURCES``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_saliency.contracts.models import CasesSpec
    from pytest_saliency.contracts.place import Place


def read_cases(spec: CasesSpec, place: Place) -> object:
    """Return what the source of ``spec`` gives, all of it; imported here, because few contracts use many."""
    kind, value = spec.source
    made: object = import_module(f"{__name__}.{kind}").make(value, spec, place)
    return made
