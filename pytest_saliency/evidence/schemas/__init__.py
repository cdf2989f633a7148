"""JSON Schemas (draft 2020-12) of the files that this package writes and reads, as they are shipped."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from pytest_saliency.errors import SaliencyError

NAMES = ("run", "bundle-run", "results", "cases-line", "manifest", "waivers", "lock", "baseline")
"""What there is a schema of; that of the contract has a command of its own."""


def schema_text(name: str) -> str:
    """Return the schema called ``name`` as it is shipped.

    Raises
    ------
    SaliencyError
        There is none of that name.
    """
    if name not in NAMES:
        raise SaliencyError(f"there is no schema '{name}'; there is {', '.join(NAMES)}.")
    return files("pytest_saliency.evidence.schemas").joinpath(f"{name}.schema.json").read_text(encoding="utf-8")


def schema(name: str) -> dict[str, Any]:
    """Return the schema called ``name``; see :func:`schema_text`."""
    made: dict[str, Any] = json.loads(schema_text(name))
    return made
