"""The rows of declared groups in a record, as every reader takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_saliency.report.measured import limited

Record = Mapping[str, Any]


def group_rows_of(record: Record) -> list[Mapping[str, Any]]:
    """Return the rows of the record's groups; none where the cases declare none, or the file is damaged."""
    decision = record.get("decision")
    readouts = decision.get("readouts") if isinstance(decision, Mapping) else None
    found = readouts.get("groups") if isinstance(readouts, Mapping) else None
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, Sequence) else []


def limited_group_rows_of(record: Record) -> list[Mapping[str, Any]]:
    """Return the groups' rows of measures that have a limit, or all rows where no such measure is given by group."""
    rows = group_rows_of(record)
    if not rows or not isinstance((record.get("decision") or {}).get("measures"), Mapping):
        return rows
    names = {str(measure.get("name")) for measure in limited(record) if isinstance(measure, Mapping)}
    return [row for row in rows if str(row.get("measure")) in names] or rows
