"""What removing the region costs, by method and fill: the table of the CASE paper (arXiv 2506.07327, Table III).

Methods of one check stand below each other, and so do those that a check compares its own with. The softmax drop is
what the paper reports; the verdict rests on the advantage in log-odds, which is why both are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_saliency.report.html.text import NOTHING, amount, jointly, share
from pytest_saliency.report.measured import number

if TYPE_CHECKING:
    from pytest_saliency.report.plots.drops import DropCell

Record = Mapping[str, Any]


def drop_rows(record: Record, records: Sequence[Record]) -> dict[str, Any] | None:
    """Return fills and rows of the drop table for a ``faithful`` check; None where nothing was scored."""
    from pytest_saliency.report.plots.drops import drop_table, fills_of

    if record.get("kind") != "faithful" or not record.get("decision"):
        return None
    group = [
        one
        for one in records
        if one.get("decision") and all(one.get(key) == record.get(key) for key in ("kind", "contract", "check"))
    ]
    table = drop_table(group)
    fills = fills_of(table)
    by_node = {str(one.get("node")): one for one in group}
    rows = [
        {
            "method": row.method,
            "compared": not row.tested,
            "this": row.node == record.get("node"),
            "cells": [_cell(row.cells.get(fill), fill, by_node[row.node] if row.tested else None) for fill in fills],
        }
        for row in table
    ]
    return {"fills": fills, "rows": rows} if fills else None


def _cell(found: DropCell | None, fill: str, tested: Record | None) -> dict[str, Any]:
    decision = (tested or {}).get("decision") or {}
    measure = (decision.get("measures") or {}).get(f"advantage[{fill}]") or {}
    interval = measure.get("interval") or {}
    spread = ((decision.get("readouts") or {}).get("advantage") or {}).get(fill) or {}
    advantage, low, high = NOTHING, "", ""
    if measure:
        advantage, low, high = jointly(
            *(number(one) for one in (measure["estimate"], interval["low"], interval["high"]))
        )
    return {
        "softmax": NOTHING if found is None or found.softmax is None else f"{found.softmax:.1f} %",
        "log_odds": NOTHING if found is None or found.log_odds is None else f"{found.log_odds:.2f}",
        "n": NOTHING if found is None else amount(found.n),
        "undefined": 0 if found is None else found.undefined,
        "advantage": advantage,
        "low": low,
        "high": high,
        "positive": share(spread["share_positive"]) if "share_positive" in spread else NOTHING,
    }
