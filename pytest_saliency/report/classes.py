"""The names of classes by index, as a record tells them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def class_names(record: Mapping[str, Any]) -> dict[int, str]:
    """Return the name of each class index; empty where the record tells none, or something else."""
    cases = record.get("cases")
    told = cases.get("class_names") if isinstance(cases, Mapping) else None
    if not isinstance(told, Mapping):
        return {}
    return {int(label): str(name) for label, name in told.items() if str(label).lstrip("-").isdecimal()}
