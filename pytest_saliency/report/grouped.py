"""The rows of declared groups in a record, as every reader takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]


def group_rows_of(record: Record) -> list[Mapping[str, Any]]:
    """Return the rows of the record's groups; none where the cases declare none, or the file is damaged."""
    readouts = (record.get("decision") or {}).get("readouts") or {}
    found = readouts.get("groups") if isinstance(readouts, Mapping) else None
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, Sequence) else []
